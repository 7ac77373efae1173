// Compares MeanetEdge.kt with an export's edge_test.json: call check(directory) from a test on the
// device.
package meanet

import java.io.File
import java.util.Base64
import kotlin.math.abs
import kotlin.math.max
import org.json.JSONObject

/** The number of images of edge_test.json; an error if a step comes out differently. */
fun check(directory: File): Int {
  val edge = MeanetEdge(directory)
  val tests = JSONObject(File(directory, "edge_test.json").readText())
  val vectors = tests.getJSONArray("vectors")
  for (number in 0 until vectors.length()) {
    val test = vectors.getJSONObject(number)
    val image = Base64.getDecoder().decode(test.getString("image"))
    val logits = test.getJSONArray("cloud_logits")
    val asks = { _: ByteArray -> FloatArray(logits.length()) { logits.getDouble(it).toFloat() } }
    for ((name, cloud) in listOf("with_cloud" to asks, "without_cloud" to null)) {
      val found = edge.classify(image, cloud)
      val ends = test.getJSONObject(name)
      val steps = listOf(found.sent, found.ranExtension, found.exit, found.prediction)
      val expected = listOf(test["sent"], test["ran_extension"], ends["exit"], ends["prediction"])
      val compared = test.optJSONObject("compared")?.getDouble("uncertainty") ?: 0.0
      val near = tests.getDouble("tolerance") * max(1.0, abs(compared))
      check(steps == expected && abs(found.uncertainty - compared) <= near) {
        "image ${test["index"]}, $name: $steps ${found.uncertainty}; expected $expected $compared"
      }
    }
  }
  return vectors.length()
}
