// The edge in C++17 on LiteRT's C interface, with nlohmann/json (apt install nlohmann-json3-dev);
// check_edge.cpp checks it.
#pragma once
#include <fstream>
#include <functional>
#include <optional>

#include <nlohmann/json.hpp>

#include "litert.h"

using Floats = std::vector<float>;
using Cloud = std::function<std::optional<Floats>(const Bytes&)>;  // logits [C], none if it fails

struct Answer {
  std::string exit;
  int prediction;
  bool sent, ran_extension;  // the latter before the cloud was asked
  float uncertainty;
};

class Edge {
 public:
  explicit Edge(const std::string& directory)
      : networks_(directory + "/edge.tflite"), policy_(directory + "/policy.tflite") {
    auto found = nlohmann::json::parse(std::ifstream(directory + "/edge.json"));
    if (found["batch_size"] != 1 || found["image_dtype"] != "uint8")
      throw std::runtime_error("accepted: an export with --batch 1 and --input uint8");
  }

  // image: pixels [h, w, c]. The extension runs only where the policy needs it.
  Answer classify(const Bytes& image, const Cloud& cloud) {
    Buffers main = networks_.run("main", {{"image", image}});
    Buffers logits = {{"main", main.at("logits")}};
    auto extended = [&] {
      Buffers inputs = {{"image", image}, {"features", main.at("features")}};
      logits["extension"] = networks_.run("extension", inputs).at("logits");
      return policy_.run("after_extension", logits);
    };
    Buffers decision = policy_.run("after_main", logits);
    bool needed = number<int>(decision, "run_extension");
    bool ran = needed && !number<int>(decision, "send");
    if (ran) decision = extended();
    bool sent = number<int>(decision, "send");
    float uncertainty = number<float>(decision, "uncertainty");
    std::optional<Floats> answer;
    if (sent && cloud) answer = cloud(image);
    if (answer) {
      auto bytes = reinterpret_cast<const std::uint8_t*>(answer->data());
      logits["cloud"] = Bytes(bytes, bytes + answer->size() * sizeof(float));
      Buffers both = policy_.run(ran ? "after_extension_and_cloud" : "after_cloud", logits);
      return {"cloud", number<int>(both, "prediction"), sent, ran, uncertainty};
    }
    if (needed && !ran) decision = extended();  // no cloud, or one that did not answer
    std::string exit = number<int>(decision, "exit") ? "extension" : "main";
    return {exit, number<int>(decision, "prediction"), sent, ran, uncertainty};
  }

 private:
  template <typename Number>
  static Number number(const Buffers& outputs, const char* name) {
    Number found;
    std::memcpy(&found, outputs.at(name).data(), sizeof found);
    return found;
  }

  Model networks_, policy_;
};
