// The edge in C++17 on LiteRT's C interface, with nlohmann/json (apt install nlohmann-json3-dev):
//   g++ -std=c++17 -O2 meanet_edge.cpp -o meanet_edge -L DIR -l:libLiteRt.so -Wl,-rpath,DIR
// where DIR holds libLiteRt.so (in the wheel: ai_edge_litert/). `meanet_edge EXPORT` checks itself.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <numeric>
#include <optional>
#include <set>

#include <nlohmann/json.hpp>

#include "litert.h"

using Json = nlohmann::json;
using Floats = std::vector<float>;
using Cloud = std::function<std::optional<Floats>(const Bytes&)>;  // logits [C], none if it fails

Floats floats(const Bytes& bytes) {
  Floats found(bytes.size() / sizeof(float));
  std::memcpy(found.data(), bytes.data(), bytes.size());
  return found;
}

double log_sum(const Floats& logs) {
  double top = *std::max_element(logs.begin(), logs.end()), sum = 0;
  for (double value : logs) sum += std::exp(value - top);
  return top + std::log(sum);
}

Floats log_softmax(Floats logits, double temperature = 1) {
  for (float& value : logits) value /= temperature;
  double total = log_sum(logits);
  for (float& value : logits) value -= total;
  return logits;
}

int argmax(const Floats& of) { return std::max_element(of.begin(), of.end()) - of.begin(); }

struct Exit {
  int prediction;
  double max_prob, entropy, margin, hard_probability = 0;
  Floats logits;
  Bytes features;

  explicit Exit(const std::map<std::string, Bytes>& out) : logits(floats(out.at("logits"))) {
    std::memcpy(&prediction, out.at("prediction").data(), sizeof prediction);
    max_prob = floats(out.at("max_prob"))[0], margin = floats(out.at("margin"))[0];
    entropy = floats(out.at("entropy"))[0];
    if (out.count("features")) {
      features = out.at("features"), hard_probability = floats(out.at("hard_probability"))[0];
    }
  }
  void take(const Floats& logs) {  // the scores of a fused distribution
    Floats sorted = logs;
    std::partial_sort(sorted.begin(), sorted.begin() + 2, sorted.end(), std::greater<float>());
    prediction = argmax(logs), max_prob = std::exp(sorted[0]), entropy = 0;
    margin = max_prob - std::exp(sorted[1]);
    for (double value : logs) entropy -= std::exp(value) * value;
  }
  double uncertainty(const std::string& criterion) const {
    return criterion == "entropy" ? entropy : 1 - (criterion == "margin" ? margin : max_prob);
  }
};

struct Answer {
  std::string exit;
  int prediction;
  bool sent;
  std::optional<double> compared;
  Exit main;
  std::optional<Exit> extension;
};

class Edge {
 public:
  explicit Edge(const std::string& directory) {
    Json file = Json::parse(std::ifstream(directory + "/edge.json"));
    point_ = file["operating_point"];
    const std::map<std::string, std::set<std::string>> known = {
        {"hard_rule", {"argmax", "probability", "argmax_uncertain", "uncertain", "never"}},
        {"edge_rule", {"extension", "most_confident", "fused"}},
        {"offload", {"early", "late", "never", "always"}},
        {"criterion", {"entropy", "max_prob", "margin", "learned"}},
        {"cloud_rule", {"replace", "fused"}}};
    for (auto& [rule, value] : point_["policy"].items()) {
      if (!known.count(rule) || !known.at(rule).count(value)) {
        std::string found = "edge.json has the rule " + rule + " " + value.dump();
        throw std::runtime_error(found + ", which this program has not");
      }
    }
    if (file["batch_size"] != 1 || file["image_dtype"] != "uint8")
      throw std::runtime_error("accepted: an export with --batch 1 and --input uint8");
    hard_ = point_["hard_classes"].get<std::vector<int>>(), known_ = hard_;
    if (point_["extension_classes"] == "all") {
      known_.resize(point_["num_classes"].get<int>());
      std::iota(known_.begin(), known_.end(), 0);
    }
    Handle environment, model, options, compiled;
    must(LiteRtCreateEnvironment(0, nullptr, &environment), "environment");
    std::string path = directory + "/edge.tflite";
    must(LiteRtCreateModelFromFile(environment, path.c_str(), &model), "edge.tflite");
    must(LiteRtCreateOptions(&options), "options");
    must(LiteRtSetOptionsHardwareAccelerators(options, 1), "options");
    must(LiteRtCreateCompiledModel(environment, model, options, &compiled), "edge.tflite");
    main_.emplace(environment, model, compiled, "main");
    extension_.emplace(environment, model, compiled, "extension");
  }

  // image: pixels [h, w, c]. The extension runs only where the policy needs it.
  Answer classify(const Bytes& image, const Cloud& cloud) {
    std::string offload = rule("offload");
    Exit main(main_->run({{"image", image}}));
    bool early = offload == "always" ||
                 (offload == "early" && uncertainty(main, main, false) > limit("main"));
    bool hard = needs_extension(main), sent = early;
    std::optional<Exit> ext;
    if (hard && !early) ext = extended(image, main);
    std::optional<double> compared;
    if (offload == "early" || offload == "late") {
      bool at_extension = offload == "late" && ext && takes(main, *ext);
      compared = uncertainty(at_extension ? *ext : main, main, at_extension);
      sent = *compared > limit(at_extension ? "extension" : "main");
    }
    std::optional<Floats> logits;
    if (sent && cloud) logits = cloud(image);
    if (logits) return {"cloud", with_cloud(*logits, main, ext), sent, compared, main, ext};
    // No cloud, or one that did not answer: now the extension runs where it was skipped.
    std::optional<Exit> last = ext;
    if (hard && !ext) last = extended(image, main);
    bool taken = last && takes(main, *last);
    int prediction = (taken ? *last : main).prediction;
    return {taken ? "extension" : "main", prediction, sent, compared, main, ext};
  }

 private:
  std::string rule(const char* name) { return point_["policy"][name]; }
  double limit(const char* name) { return point_["thresholds"][name]; }

  double uncertainty(const Exit& exit, const Exit& main, bool ran) {
    std::string criterion = rule("criterion");
    return criterion == "learned" ? gain(exit, main, ran) : exit.uncertainty(criterion);
  }
  double gain(const Exit& exit, const Exit& main, bool ran) {
    const double features[] = {std::log(exit.max_prob),
                               std::log(std::max(1 - exit.max_prob, 1e-4)),
                               exit.margin,
                               exit.entropy,
                               main.hard_probability,
                               double(ran),
                               double(exit.prediction == main.prediction)};
    Json& weights = point_["gain"];
    Floats logits;
    for (int row = 0; row < 3; ++row) {
      double sum = weights["bias"][row];
      sum += weights["classes"][row][exit.prediction].get<double>();
      for (int i = 0; i < 7; ++i) sum += weights["features"][row][i].get<double>() * features[i];
      logits.push_back(sum);
    }
    Floats logs = log_softmax(logits);
    return std::exp(logs[2]) - std::exp(logs[0]);
  }
  bool needs_extension(const Exit& main) {
    std::string name = rule("hard_rule"), criterion = rule("criterion");
    bool is_hard = std::count(hard_.begin(), hard_.end(), main.prediction);
    if (name == "probability") return main.hard_probability > limit("hard");
    if (name == "argmax" || name == "never") return name == "argmax" && is_hard;
    bool unsure = main.uncertainty(criterion) > limit("run");  // of `learned`: max_prob
    return unsure && (name == "uncertain" || is_hard);
  }
  Exit extended(const Bytes& image, const Exit& main) {
    Exit ext(extension_->run({{"image", image}, {"features", main.features}}));
    if (rule("edge_rule") == "fused") ext.take(fuse(main, ext));
    return ext;
  }
  bool takes(const Exit& main, const Exit& ext) {
    return rule("edge_rule") != "most_confident" || ext.max_prob > main.max_prob;
  }
  // Log-probabilities over all classes; main's mass on classes that the extension has not stays.
  Floats fuse(const Exit& main, const std::optional<Exit>& ext) {
    Floats logs = log_softmax(main.logits, point_["temperatures"]["main"]), mixed;
    if (!ext) return logs;
    Floats own = log_softmax(ext->logits, point_["temperatures"]["extension"]), known;
    double weight = point_["fusion"]["edge"];
    for (int number : known_) known.push_back(logs[number]);
    double mass = log_sum(known);
    for (std::size_t i = 0; i < known.size(); ++i)
      mixed.push_back((1 - weight) * (known[i] - mass) + weight * own[i]);
    mixed = log_softmax(mixed);
    for (std::size_t i = 0; i < known.size(); ++i) logs[known_[i]] = mass + mixed[i];
    return logs;
  }
  int with_cloud(const Floats& logits, const Exit& main, const std::optional<Exit>& ext) {
    if (rule("cloud_rule") == "replace") return argmax(logits);
    double weight = point_["fusion"]["cloud"];
    Floats both = fuse(main, ext), cloud = log_softmax(logits, point_["temperatures"]["cloud"]);
    for (std::size_t i = 0; i < both.size(); ++i)
      both[i] = (1 - weight) * both[i] + weight * cloud[i];
    return argmax(both);
  }

  Json point_;
  std::vector<int> hard_, known_;
  std::optional<Signature> main_, extension_;
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

// Compares with edge_test.json; gives what differs, empty if nothing does.
std::string differs(const Answer& found, const Json& test, const Json& ends, double tolerance) {
  auto far = [&](double one, double other) {
    return !(std::abs(one - other) <= tolerance * std::max(1.0, std::abs(other)));
  };
  for (std::size_t i = 0; i < found.main.logits.size(); ++i)
    if (far(found.main.logits[i], test["main"]["logits"][i])) return "main.logits";
  if (far(found.main.entropy, test["main"]["entropy"])) return "main.entropy";
  if (found.extension.has_value() != test["ran_extension"]) return "ran_extension";
  if (found.extension) {
    const Json& ext = test["fused"].is_null() ? test["extension"] : test["fused"];
    for (std::size_t i = 0; i < found.extension->logits.size(); ++i)
      if (far(found.extension->logits[i], test["extension"]["logits"][i]))
        return "extension.logits";
    if (far(found.extension->entropy, ext["entropy"])) return "extension.entropy";
    if (far(found.extension->margin, ext["margin"])) return "extension.margin";
  }
  if (found.compared && far(*found.compared, test["compared"]["uncertainty"])) return "compared";
  if (found.sent != test["sent"]) return "sent";
  return found.exit != ends["exit"] || found.prediction != ends["prediction"] ? "answer" : "";
}

int main(int count, char** arguments) try {
  if (count != 2) throw std::runtime_error("accepted: meanet_edge EXPORT");
  Edge edge(arguments[1]);
  Json tests = Json::parse(std::ifstream(std::string(arguments[1]) + "/edge_test.json"));
  for (const Json& test : tests["vectors"]) {
    Bytes image = from_base64(test["image"]);
    Cloud cloud = [&](const Bytes&) { return test["cloud_logits"].get<Floats>(); };
    for (const char* name : {"with_cloud", "without_cloud"}) {
      bool asks = !std::strcmp(name, "with_cloud");
      Answer found = edge.classify(image, asks ? cloud : nullptr);
      std::string what = differs(found, test, test[name], tests["tolerance"]);
      std::string where = "image " + test["index"].dump() + ", " + name + ": ";
      if (!what.empty()) throw std::runtime_error(where + what + " differs");
    }
  }
  std::printf("%zu images agree\n", tests["vectors"].size());
} catch (const std::exception& error) {
  std::fprintf(stderr, "error: %s\n", error.what());
  return 1;
}
