// The edge in Swift 5.7 on TensorFlowLiteSwift (pod 'TensorFlowLiteSwift'). Not compiled here: no
// Swift compiler was at hand, so run CheckEdge.swift first.
import Foundation
import TensorFlowLite

struct Answer {
  let exit: String
  let prediction: Int32
  let sent, ranExtension: Bool  // the latter before the cloud was asked
  let uncertainty: Float32
}

final class MeanetEdge {
  /// Pixels [h, w, c] to the cloud's logits [C], or nil if it fails.
  typealias Cloud = (Data) -> [Float32]?

  private var files: [Interpreter] = []  // their runners need them
  private var runners: [String: SignatureRunner] = [:]

  init(directory: URL) throws {
    struct Manifest: Codable { let batch_size: Int, image_dtype: String }
    let found = try JSONDecoder().decode(
      Manifest.self, from: Data(contentsOf: directory.appendingPathComponent("edge.json")))
    precondition(found.batch_size == 1 && found.image_dtype == "uint8",
                 "accepted: an export with --batch 1 and --input uint8")
    for name in ["edge.tflite", "policy.tflite"] {
      let file = try Interpreter(modelPath: directory.appendingPathComponent(name).path)
      for key in file.signatureKeys { runners[key] = try file.signatureRunner(with: key) }
      files.append(file)
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
