// The edge in C++17 on LiteRT's C interface, with nlohmann/json (apt install nlohmann-json3-dev):
//   g++ -std=c++17 -O2 meanet_edge.cpp -o meanet_edge -L DIR -l:libLiteRt.so -Wl,-rpath,DIR
// where DIR holds libLiteRt.so (in the wheel: ai_edge_litert/). `meanet_edge EXPORT` checks itself.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <functional>
#include <optional>

#include <nlohmann/json.hpp>

#include "litert.h"

using Json = nlohmann::json;
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
    Json found = Json::parse(std::ifstream(directory + "/edge.json"));
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

Bytes from_base64(const std::string& text) {
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  Bytes found;
  unsigned bits = 0, count = 0;
  for (char letter : text) {
    if (letter == '=') break;
    bits = bits << 6 | unsigned(digits.find(letter)), count += 6;
    if (count >= 8) count -= 8, found.push_back(bits >> count & 255);
  }
  return found;
}

int main(int count, char** arguments) try {
  if (count != 2) throw std::runtime_error("accepted: meanet_edge EXPORT");
  Edge edge(arguments[1]);
  Json tests = Json::parse(std::ifstream(std::string(arguments[1]) + "/edge_test.json"));
  for (const Json& test : tests["vectors"]) {
    Bytes image = from_base64(test["image"]);
    Cloud cloud = [&](const Bytes&) { return test["cloud_logits"].get<Floats>(); };
    for (std::string name : {"with_cloud", "without_cloud"}) {
      Answer found = edge.classify(image, name == "with_cloud" ? cloud : nullptr);
      bool compares = !test["compared"].is_null();
      double expected = compares ? test["compared"]["uncertainty"].get<double>() : 0;
      double limit = tests["tolerance"].get<double>() * std::max(1.0, std::abs(expected));
      Json steps = {found.sent, found.ran_extension, found.exit, found.prediction};
      Json ends = {test["sent"], test["ran_extension"], test[name]["exit"],
                   test[name]["prediction"]};
      if (steps != ends || !(std::abs(found.uncertainty - expected) <= limit)) {
        std::string where = "image " + test["index"].dump() + ", " + name + ": ";
        throw std::runtime_error(where + steps.dump() + " " + std::to_string(found.uncertainty) +
                                 "; expected " + ends.dump() + " " + std::to_string(expected));
      }
    }
  }
  std::printf("%zu images agree\n", tests["vectors"].size());
} catch (const std::exception& error) {
  std::fprintf(stderr, "error: %s\n", error.what());
  return 1;
}
