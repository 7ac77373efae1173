// The edge in Swift on TensorFlowLiteSwift (pod 'TensorFlowLiteSwift'). Not compiled here: no Swift
// compiler was at hand, so call `check(directory:)` on a device or in a unit test before using it.
import Foundation
import TensorFlowLite

struct Policy: Codable {
  let hard_rule, edge_rule, offload, criterion, cloud_rule: String
}

struct Thresholds: Codable {
  let main, `extension`, hard, run: Double?
}

struct Temperatures: Codable {
  let main, `extension`, cloud: Double
}

struct Fusion: Codable {
  let edge, cloud: Double
}

struct Gain: Codable {
  let features, classes: [[Double]]
  let bias: [Double]
}

struct Point: Codable {
  let policy: Policy
  let thresholds: Thresholds
  let temperatures: Temperatures
  let hard_classes: [Int]
  let num_classes: Int
  let extension_classes: String
  let fusion: Fusion?
  let gain: Gain?
}

struct Manifest: Codable {
  let operating_point: Point
  let batch_size: Int
  let image_dtype: String
}

struct EdgeError: Error {
  let message: String
}

func logSum(_ logs: [Double]) -> Double {
  let top = logs.max()!
  return top + log(logs.reduce(0) { $0 + exp($1 - top) })
}

func logSoftmax(_ logits: [Double], _ temperature: Double = 1) -> [Double] {
  let cooled = logits.map { $0 / temperature }
  let total = logSum(cooled)
  return cooled.map { $0 - total }
}

func argmax(_ values: [Double]) -> Int { values.firstIndex(of: values.max()!)! }

struct Exit {
  var prediction: Int
  var maxProb, entropy, margin: Double
  var hardProbability = 0.0
  var logits: [Double]
  var features = Data()

  func uncertainty(_ criterion: String) -> Double {
    criterion == "entropy" ? entropy : 1 - (criterion == "margin" ? margin : maxProb)
  }
}

struct Answer {
  let exit: String
  let prediction: Int
  let sent: Bool
  let compared: Double?
  let main: Exit
  let `extension`: Exit?
}

final class MeanetEdge {
  /// Pixels [h, w, c] to the cloud's logits [C], or nil if it fails.
  typealias Cloud = (Data) -> [Double]?

  private let point: Point
  private let known: [Int]
  private let interpreter: Interpreter
  private let mainRunner, extensionRunner: SignatureRunner

  init(directory: URL) throws {
    let file = try JSONDecoder().decode(
      Manifest.self, from: Data(contentsOf: directory.appendingPathComponent("edge.json")))
    point = file.operating_point
    let policy = point.policy
    for (rule, value, accepted) in [
      ("hard_rule", policy.hard_rule,
       ["argmax", "probability", "argmax_uncertain", "uncertain", "never"]),
      ("edge_rule", policy.edge_rule, ["extension", "most_confident", "fused"]),
      ("offload", policy.offload, ["early", "late", "never", "always"]),
      ("criterion", policy.criterion, ["entropy", "max_prob", "margin", "learned"]),
      ("cloud_rule", policy.cloud_rule, ["replace", "fused"]),
    ] where !accepted.contains(value) {
      let found = "edge.json has the rule \(rule) \(value)"
      throw EdgeError(message: "\(found), which this program has not")
    }
    guard file.batch_size == 1, file.image_dtype == "uint8" else {
      throw EdgeError(message: "accepted: an export with --batch 1 and --input uint8")
    }
    known = point.extension_classes == "all" ? Array(0..<point.num_classes) : point.hard_classes
    interpreter = try Interpreter(modelPath: directory.appendingPathComponent("edge.tflite").path)
    mainRunner = try interpreter.signatureRunner(with: "main")
    extensionRunner = try interpreter.signatureRunner(with: "extension")
    try mainRunner.allocateTensors()
    try extensionRunner.allocateTensors()
  }

  /// The extension runs only where the policy needs it.
  func classify(_ image: Data, cloud: Cloud?) throws -> Answer {
    let offload = point.policy.offload, limits = point.thresholds
    let main = try run(mainRunner, image, nil)
    let early = offload == "always"
      || (offload == "early" && uncertainty(main, main, false) > limits.main!)
    let needed = needsExtension(main)
    let ext = needed && !early ? try extended(image, main) : nil
    var sent = early
    var compared: Double?
    if offload == "early" || offload == "late" {
      let last = offload == "late" ? ext.flatMap { takes(main, $0) ? $0 : nil } : nil
      compared = uncertainty(last ?? main, main, last != nil)
      sent = compared! > (last != nil ? limits.extension! : limits.main!)
    }
    if sent, let logits = cloud?(image) {
      return Answer(
        exit: "cloud", prediction: withCloud(logits, main, ext), sent: sent, compared: compared,
        main: main, extension: ext)
    }
    // No cloud, or one that did not answer: now the extension runs where it was skipped.
    let last = try ext ?? (needed ? extended(image, main) : nil)
    let taken = last.flatMap { takes(main, $0) ? $0 : nil }
    return Answer(
      exit: taken != nil ? "extension" : "main", prediction: (taken ?? main).prediction, sent: sent,
      compared: compared, main: main, extension: ext)
  }

  private func run(_ runner: SignatureRunner, _ image: Data, _ features: Data?) throws -> Exit {
    var inputs = ["image": image]
    inputs["features"] = features
    try runner.invoke(with: inputs)
    func floats(_ name: String) throws -> [Double] {
      let data = try runner.output(named: name).data
      return data.withUnsafeBytes { Array($0.bindMemory(to: Float32.self)).map(Double.init) }
    }
    let predicted = try runner.output(named: "prediction").data
    return Exit(
      prediction: predicted.withUnsafeBytes { Int($0.load(as: Int32.self)) },
      maxProb: try floats("max_prob")[0], entropy: try floats("entropy")[0],
      margin: try floats("margin")[0],
      hardProbability: features == nil ? try floats("hard_probability")[0] : 0,
      logits: try floats("logits"),
      features: features == nil ? try runner.output(named: "features").data : Data())
  }

  private func uncertainty(_ exit: Exit, _ main: Exit, _ ran: Bool) -> Double {
    let criterion = point.policy.criterion
    guard criterion == "learned" else { return exit.uncertainty(criterion) }
    let features = [
      log(exit.maxProb), log(max(1 - exit.maxProb, 1e-4)), exit.margin, exit.entropy,
      main.hardProbability, ran ? 1 : 0, exit.prediction == main.prediction ? 1 : 0,
    ]
    let gain = point.gain!
    let logs = logSoftmax((0..<3).map { (row: Int) -> Double in
      let constant = gain.bias[row] + gain.classes[row][exit.prediction]
      return zip(gain.features[row], features).reduce(constant) { $0 + $1.0 * $1.1 }
    })
    return exp(logs[2]) - exp(logs[0])
  }

  private func needsExtension(_ main: Exit) -> Bool {
    let isHard = point.hard_classes.contains(main.prediction), limits = point.thresholds
    // Of `learned`: max_prob.
    func unsure() -> Bool { main.uncertainty(point.policy.criterion) > limits.run! }
    switch point.policy.hard_rule {
    case "never": return false
    case "argmax": return isHard
    case "probability": return main.hardProbability > limits.hard!
    case "uncertain": return unsure()
    default: return isHard && unsure()
    }
  }

  private func extended(_ image: Data, _ main: Exit) throws -> Exit {
    var ext = try run(extensionRunner, image, main.features)
    if point.policy.edge_rule == "fused" {
      let logs = fuse(main, ext), top = logs.sorted(by: >)
      ext.prediction = argmax(logs)
      ext.maxProb = exp(top[0])
      ext.margin = exp(top[0]) - exp(top[1])
      ext.entropy = -logs.reduce(0) { $0 + exp($1) * $1 }
    }
    return ext
  }

  private func takes(_ main: Exit, _ ext: Exit) -> Bool {
    point.policy.edge_rule != "most_confident" || ext.maxProb > main.maxProb
  }

  /// Log-probabilities over all classes; main's mass on classes that the extension has not stays.
  private func fuse(_ main: Exit, _ ext: Exit?) -> [Double] {
    var logs = logSoftmax(main.logits, point.temperatures.main)
    guard let ext = ext else { return logs }
    let weight = point.fusion!.edge, own = logSoftmax(ext.logits, point.temperatures.extension)
    let mass = logSum(known.map { logs[$0] })
    let mixed = logSoftmax(
      known.indices.map { (1 - weight) * (logs[known[$0]] - mass) + weight * own[$0] })
    for place in known.indices { logs[known[place]] = mass + mixed[place] }
    return logs
  }

  private func withCloud(_ logits: [Double], _ main: Exit, _ ext: Exit?) -> Int {
    if point.policy.cloud_rule == "replace" { return argmax(logits) }
    let weight = point.fusion!.cloud, cloud = logSoftmax(logits, point.temperatures.cloud)
    return argmax(zip(fuse(main, ext), cloud).map { (1 - weight) * $0 + weight * $1 })
  }
}

/// The number of images of edge_test.json; an error if a step comes out differently.
func check(directory: URL) throws -> Int {
  struct End: Codable { let exit: String, prediction: Int }
  struct Step: Codable { let entropy: Double }
  struct Compared: Codable { let uncertainty: Double }
  struct Test: Codable {
    let index: Int, image: Data, cloud_logits: [Double]
    let main: Step, `extension`: Step?, fused: Step?
    let compared: Compared?, sent, ran_extension: Bool, with_cloud, without_cloud: End
  }
  struct Tests: Codable { let tolerance: Double, vectors: [Test] }
  let edge = try MeanetEdge(directory: directory)
  let tests = try JSONDecoder().decode(  // Data is base64 in JSON
    Tests.self, from: Data(contentsOf: directory.appendingPathComponent("edge_test.json")))
  for test in tests.vectors {
    for (end, cloud) in [(test.with_cloud, { _ in test.cloud_logits }), (test.without_cloud, nil)]
      as [(End, MeanetEdge.Cloud?)]
    {
      let found = try edge.classify(test.image, cloud: cloud)
      var pairs = [(found.main.entropy, test.main.entropy)]
      if let ext = found.extension, let step = test.fused ?? test.extension {
        pairs.append((ext.entropy, step.entropy))
      }
      if let value = found.compared, let step = test.compared {
        pairs.append((value, step.uncertainty))
      }
      let near = pairs.allSatisfy { abs($0 - $1) <= tests.tolerance * max(1, abs($1)) }
      let same = found.sent == test.sent && (found.extension != nil) == test.ran_extension
        && found.exit == end.exit && found.prediction == end.prediction
      guard near && same else { throw EdgeError(message: "image \(test.index): \(found)") }
    }
  }
  return tests.vectors.count
}
