// LiteRT's Interpreter for a computer without Android: signatures answer what edge_test.json holds.
package org.tensorflow.lite

import java.io.File
import java.nio.ByteBuffer
import java.util.Base64
import meanet.check
import org.json.JSONObject

class Tensor(private val bytes: Int) {
  fun numBytes() = bytes
}

class Interpreter(model: File) {
  private val vectors = JSONObject(File(model.parentFile, "edge_test.json").readText())
      .getJSONArray("vectors").let { all -> (0 until all.length()).map { all.getJSONObject(it) } }

  fun getSignatureOutputs(key: String) = when (key) {
    "main" -> arrayOf("logits", "features")
    "extension" -> arrayOf("logits")
    "after_main" -> arrayOf("prediction", "exit", "send", "uncertainty", "run_extension")
    "after_extension" -> arrayOf("prediction", "exit", "send", "uncertainty")
    else -> arrayOf("prediction")
  }

  // Logits are the vector's number, once for each exit that they are of.
  fun getOutputTensorFromSignature(name: String, key: String) = Tensor(4)

  fun run(input: Any, output: Any): Unit = error("$input $output") // a member, as in LiteRT

  fun runSignature(inputs: Map<String, Any>, outputs: Map<String, Any>, key: String) {
    fun given(name: String) = inputs.getValue(name) as ByteBuffer
    fun put(name: String, value: Int) = (outputs.getValue(name) as ByteBuffer).putInt(0, value)
    if (key == "main" || key == "extension") {
      val pixels = ByteArray(given("image").remaining()).also { given("image").duplicate().get(it) }
      val number = vectors.indexOfFirst {
        Base64.getDecoder().decode(it.getString("image")).contentEquals(pixels)
      }
      check(key == "main" || given("features").getInt(0) == number) { "features of another image" }
      outputs.values.forEach { (it as ByteBuffer).putInt(0, number) }
      return
    }
    val number = given("main").getInt(0)
    val test = vectors[number]
    val ran = test.getBoolean("ran_extension")
    if ("extension" in inputs) check(given("extension").getInt(0) == number) { "$number: $key" }
    if ("cloud" in inputs) {
      val logits = test.getJSONArray("cloud_logits")
      val given = given("cloud").asFloatBuffer()
      for (place in 0 until logits.length())
        check(given.get(place) == logits.getDouble(place).toFloat()) { "$number: another cloud" }
      check(ran == ("extension" in inputs)) { "$number: $key, and the extension ran: $ran" }
      put("prediction", test.getJSONObject("with_cloud").getInt("prediction"))
      return
    }
    // What is known only after the extension has run is wrong before.
    val last = key == "after_extension" || !test.getBoolean("predicted_hard")
    val known = last || test.getBoolean("sent_early")
    val alone = test.getJSONObject("without_cloud")
    put("prediction", if (last) alone.getInt("prediction") else -1)
    put("exit", if (last && alone["exit"] == "extension") 1 else 0)
    put("send", if (known && test.getBoolean("sent")) 1 else 0)
    val comparison = test.optJSONObject("compared")
    val compared = if (known) comparison?.getDouble("uncertainty") ?: 0.0 else -1.0
    (outputs.getValue("uncertainty") as ByteBuffer).putFloat(0, compared.toFloat())
    if (key == "after_main") put("run_extension", if (test.getBoolean("predicted_hard")) 1 else 0)
  }
}

fun main(arguments: Array<String>) {
  for (directory in arguments) println("${check(File(directory))} images agree")
}
