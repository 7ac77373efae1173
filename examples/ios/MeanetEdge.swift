// The edge in Swift 5.7 on TensorFlowLiteSwift (pod 'TensorFlowLiteSwift'). Not compiled here: no
// Swift compiler was at hand, so call `check(directory:)` on a device or in a unit test first.
import Foundation
import TensorFlowLite

struct Answer {
  let exit: String
  let prediction: Int32
  let sent, ranExtension: Bool  // the latter before the cloud was asked
  let uncertainty: Float32
}

struct EdgeError: Error {
  let message: String
}

final class MeanetEdge {
  /// Pixels [h, w, c] to the cloud's logits [C], or nil if it fails.
  typealias Cloud = (Data) -> [Float32]?

  private let networks, policy: Interpreter
  private var runners: [String: SignatureRunner] = [:]

  init(directory: URL) throws {
    struct Manifest: Codable { let batch_size: Int, image_dtype: String }
    let found = try JSONDecoder().decode(
      Manifest.self, from: Data(contentsOf: directory.appendingPathComponent("edge.json")))
    guard found.batch_size == 1, found.image_dtype == "uint8" else {
      throw EdgeError(message: "accepted: an export with --batch 1 and --input uint8")
    }
    func open(_ name: String) throws -> Interpreter {
      try Interpreter(modelPath: directory.appendingPathComponent(name).path)
    }
    networks = try open("edge.tflite")
    policy = try open("policy.tflite")
    for file in [networks, policy] {
      for key in file.signatureKeys { runners[key] = try file.signatureRunner(with: key) }
    }
  }

  /// The extension runs only where the policy needs it.
  func classify(_ image: Data, cloud: Cloud?) throws -> Answer {
    let main = try run("main", ["image": image])
    var logits = ["main": main["logits"]!]
    func extended() throws -> [String: Data] {
      let found = try run("extension", ["image": image, "features": main["features"]!])
      logits["extension"] = found["logits"]!
      return try run("after_extension", logits)
    }
    var decision = try run("after_main", logits)
    let needed = int(decision, "run_extension") == 1
    let ran = needed && int(decision, "send") == 0
    if ran { decision = try extended() }
    let sent = int(decision, "send") == 1
    let value = decision["uncertainty"]!
    let uncertainty = value.withUnsafeBytes { $0.loadUnaligned(as: Float32.self) }
    func answer(_ exit: String, _ from: [String: Data]) -> Answer {
      Answer(exit: exit, prediction: int(from, "prediction"), sent: sent, ranExtension: ran,
             uncertainty: uncertainty)
    }
    if sent, let fromCloud = cloud?(image) {
      logits["cloud"] = fromCloud.withUnsafeBytes { Data($0) }
      let rule = ran ? "after_extension_and_cloud" : "after_cloud"
      return answer("cloud", try run(rule, logits))
    }
    // No cloud, or one that did not answer: now the extension runs where it was skipped.
    if needed && !ran { decision = try extended() }
    return answer(int(decision, "exit") == 1 ? "extension" : "main", decision)
  }

  private func run(_ signature: String, _ inputs: [String: Data]) throws -> [String: Data] {
    let runner = runners[signature]!
    try runner.invoke(with: inputs)
    var found: [String: Data] = [:]
    for name in runner.outputs { found[name] = try runner.output(named: name).data }
    return found
  }

  private func int(_ outputs: [String: Data], _ name: String) -> Int32 {
    outputs[name]!.withUnsafeBytes { $0.loadUnaligned(as: Int32.self) }
  }
}

/// The number of images of edge_test.json; an error if a step comes out differently.
func check(directory: URL) throws -> Int {
  struct End: Codable { let exit: String, prediction: Int32 }
  struct Compared: Codable { let uncertainty: Float32 }
  struct Test: Codable {
    let index: Int, image: Data, cloud_logits: [Float32]  // Data is base64 in JSON
    let compared: Compared?, sent, ran_extension: Bool, with_cloud, without_cloud: End
  }
  struct Tests: Codable { let tolerance: Float32, vectors: [Test] }
  let edge = try MeanetEdge(directory: directory)
  let tests = try JSONDecoder().decode(
    Tests.self, from: Data(contentsOf: directory.appendingPathComponent("edge_test.json")))
  for test in tests.vectors {
    for (end, cloud) in [(test.with_cloud, { _ in test.cloud_logits }), (test.without_cloud, nil)]
      as [(End, MeanetEdge.Cloud?)]
    {
      let found = try edge.classify(test.image, cloud: cloud)
      let compared = test.compared?.uncertainty ?? 0
      guard abs(found.uncertainty - compared) <= tests.tolerance * max(1, abs(compared)),
        found.sent == test.sent, found.ranExtension == test.ran_extension,
        found.exit == end.exit, found.prediction == end.prediction
      else { throw EdgeError(message: "image \(test.index): \(found); expected \(test)") }
    }
  }
  return tests.vectors.count
}
