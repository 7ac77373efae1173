// The edge in Kotlin on LiteRT: implementation "com.google.ai.edge.litert:litert:1.4.0" in Gradle.
// CheckEdge.kt checks it. Android 8 or newer. Compiled with kotlinc 1.3 and run on a computer with
// recorded signatures, not on a phone.
package meanet

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.json.JSONObject
import org.tensorflow.lite.Interpreter

typealias Buffers = Map<String, ByteBuffer>

class Answer(val exit: String, val prediction: Int, val sent: Boolean,
             val ranExtension: Boolean, // before the cloud was asked
             val uncertainty: Float)

class MeanetEdge(directory: File) {
  private val networks = Interpreter(File(directory, "edge.tflite"))
  private val policy = Interpreter(File(directory, "policy.tflite"))

  init {
    val found = JSONObject(File(directory, "edge.json").readText())
    require(found.getInt("batch_size") == 1 && found.getString("image_dtype") == "uint8") {
      "accepted: an export with --batch 1 and --input uint8"
    }
  }

  /** image: pixels [h, w, c]. cloud: gives the cloud's logits [C], or null if it fails. */
  fun classify(image: ByteArray, cloud: ((ByteArray) -> FloatArray?)?): Answer {
    val pixels = buffer(image.size).put(image).apply { rewind() }
    val main = networks.call("main", mapOf("image" to pixels))
    val logits = mutableMapOf("main" to main.getValue("logits"))
    fun extended(): Buffers {
      val inputs = mapOf("image" to pixels, "features" to main.getValue("features"))
      logits["extension"] = networks.call("extension", inputs).getValue("logits")
      return policy.call("after_extension", logits)
    }
    var decision = policy.call("after_main", logits)
    val needed = decision.int("run_extension") == 1
    val ran = needed && decision.int("send") == 0
    if (ran) decision = extended()
    val sent = decision.int("send") == 1
    val uncertainty = decision.getValue("uncertainty").getFloat(0)
    val answer = if (sent && cloud != null) cloud(image) else null
    if (answer != null) {
      logits["cloud"] = buffer(4 * answer.size).apply { asFloatBuffer().put(answer) }
      val both = policy.call(if (ran) "after_extension_and_cloud" else "after_cloud", logits)
      return Answer("cloud", both.int("prediction"), sent, ran, uncertainty)
    }
    if (needed && !ran) decision = extended() // no cloud, or one that did not answer
    val exit = if (decision.int("exit") == 1) "extension" else "main"
    return Answer(exit, decision.int("prediction"), sent, ran, uncertainty)
  }

  private fun Buffers.int(name: String) = getValue(name).getInt(0)

  private fun buffer(bytes: Int) = ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder())

  private fun Interpreter.call(signature: String, inputs: Buffers): Buffers {
    val outputs = getSignatureOutputs(signature).associate {
      it to buffer(getOutputTensorFromSignature(it, signature).numBytes())
    }
    inputs.values.forEach { it.rewind() }
    runSignature(HashMap<String, Any>(inputs), HashMap<String, Any>(outputs), signature)
    return outputs
  }
}
