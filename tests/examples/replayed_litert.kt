// LiteRT's Interpreter for a computer without Android: signatures answer what edge_test.json holds.
package org.tensorflow.lite

import java.io.File
import java.nio.ByteBuffer
import java.util.Base64
import meanet.check
import meanet.doubles
import org.json.JSONObject

class Tensor(private val bytes: Int) {
  fun numBytes() = bytes
}

class Interpreter(model: File) {
  private val file = JSONObject(File(model.parentFile, "edge_test.json").readText())
  private val vectors = file.getJSONArray("vectors")
  private val hard = file.getJSONObject("operating_point").getJSONArray("hard_classes")

  fun getSignatureOutputs(key: String) =
      arrayOf("logits", "prediction", "max_prob", "entropy", "margin") +
          if (key == "main") arrayOf("hard_probability", "features") else arrayOf()

  fun getOutputTensorFromSignature(name: String, key: String) =
      Tensor(4 * if (name != "logits") 1 else if (key == "extension") hard.length() else classes)

  private val classes = file.getJSONObject("operating_point").getInt("num_classes")

  fun runSignature(inputs: Map<String, Any>, outputs: Map<String, Any>, key: String) {
    val given = inputs["image"] as ByteBuffer
    val pixels = ByteArray(given.remaining()).also { given.duplicate().get(it) }
    val vector = (0 until vectors.length()).map { vectors.getJSONObject(it) }
        .first { Base64.getDecoder().decode(it.getString("image")).contentEquals(pixels) }
    if (vector.isNull(key)) { // an extension that was skipped: its answer alone is in the file
      val alone = vector.getJSONObject("without_cloud")
      val answer = alone.getInt("prediction")
      val place = (0 until hard.length()).indexOfFirst { hard.getInt(it) == answer }
      if (place >= 0) (outputs["logits"] as ByteBuffer).putFloat(4 * place, 100f)
      (outputs["prediction"] as ByteBuffer).putInt(0, answer)
      (outputs["max_prob"] as ByteBuffer).putFloat(0, if (alone["exit"] == "main") 0f else 1f)
      return
    }
    val step = vector.getJSONObject(key)
    for ((name, value) in outputs) when (name) {
      "logits" -> step.getJSONArray(name).doubles().forEachIndexed { place, logit ->
        (value as ByteBuffer).putFloat(4 * place, logit.toFloat())
      }
      "prediction" -> (value as ByteBuffer).putInt(0, step.getInt(name))
      "features" -> Unit
      else -> (value as ByteBuffer).putFloat(0, step.getDouble(name).toFloat())
    }
  }
}

fun main(arguments: Array<String>) {
  for (directory in arguments) println("${check(File(directory))} images agree")
}
