// Compares MeanetEdge.swift with an export's edge_test.json: call check(directory:) on a device or
// in a unit test.
import Foundation

struct Difference: Error {
  let message: String
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
      else { throw Difference(message: "image \(test.index): \(found); expected \(test)") }
    }
  }
  return tests.vectors.count
}
