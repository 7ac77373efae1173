// Compares meanet_edge.h with an export's edge_test.json: check_edge EXPORT.
//   g++ -std=c++17 -O2 check_edge.cpp -o check_edge -L DIR -l:libLiteRt.so -Wl,-rpath,DIR
// where DIR holds libLiteRt.so (in the wheel: ai_edge_litert/).
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "meanet_edge.h"

using Json = nlohmann::json;

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
  if (count != 2) throw std::runtime_error("accepted: check_edge EXPORT");
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
