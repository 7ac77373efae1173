// The edge in Kotlin on LiteRT: implementation "com.google.ai.edge.litert:litert:1.4.0" in Gradle.
// `check(directory)` compares with edge_test.json: call it from a test on the device. Android 8 or
// newer. Compiled with kotlinc 1.3 and run on a computer with recorded networks, not on a phone.
package meanet

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.Base64
import kotlin.math.abs
import kotlin.math.exp
import kotlin.math.ln
import kotlin.math.max
import org.json.JSONArray
import org.json.JSONObject
import org.tensorflow.lite.Interpreter

private val KNOWN = mapOf(
    "hard_rule" to listOf("argmax", "probability", "argmax_uncertain", "uncertain", "never"),
    "edge_rule" to listOf("extension", "most_confident", "fused"),
    "offload" to listOf("early", "late", "never", "always"),
    "criterion" to listOf("entropy", "max_prob", "margin", "learned"),
    "cloud_rule" to listOf("replace", "fused"))

fun JSONArray.doubles() = DoubleArray(length()) { getDouble(it) }

fun DoubleArray.logSum(): Double {
  val top = reduce { one, other -> max(one, other) }
  return top + ln(map { exp(it - top) }.sum())
}

fun DoubleArray.logSoftmax() = logSum().let { all -> DoubleArray(size) { this[it] - all } }

fun DoubleArray.argmax() = indices.reduce { best, it -> if (this[it] > this[best]) it else best }

private fun DoubleArray.over(temperature: Double) = DoubleArray(size) { this[it] / temperature }

class Exit(val logits: DoubleArray, val prediction: Int, val maxProb: Double, val entropy: Double,
           val margin: Double, val hardProbability: Double = 0.0,
           val features: ByteBuffer? = null) {
  fun uncertainty(criterion: String) =
      if (criterion == "entropy") entropy else 1 - (if (criterion == "margin") margin else maxProb)
}

class Answer(val exit: String, val prediction: Int, val sent: Boolean, val compared: Double?,
             val main: Exit, val extension: Exit?)

class MeanetEdge(directory: File) {
  private val file = JSONObject(File(directory, "edge.json").readText())
  private val point = file.getJSONObject("operating_point")
  private val policy = point.getJSONObject("policy")
  private val hard = point.getJSONArray("hard_classes").doubles().map { it.toInt() }
  private val known =
      if (point.getString("extension_classes") == "hard") hard
      else (0 until point.getInt("num_classes")).toList()
  private val interpreter = Interpreter(File(directory, "edge.tflite"))

  init {
    for (rule in policy.keys()) require(policy.getString(rule as String) in KNOWN[rule].orEmpty()) {
      "edge.json has the rule $rule ${policy[rule]}, which this program has not"
    }
    require(file.getInt("batch_size") == 1 && file.getString("image_dtype") == "uint8") {
      "accepted: an export with --batch 1 and --input uint8"
    }
  }

  /** image: pixels [h, w, c]. cloud: gives the cloud's logits [C], or null if it fails. */
  fun classify(image: ByteArray, cloud: ((ByteArray) -> DoubleArray?)?): Answer {
    val offload = policy.getString("offload")
    val main = run("main", image, null)
    val early = offload == "always" ||
        offload == "early" && uncertainty(main, main, false) > limit("main")
    val needed = needsExtension(main)
    val ext = if (needed && !early) extended(image, main) else null
    var sent = early
    var compared: Double? = null
    if (offload == "early" || offload == "late") {
      val last = if (offload == "late" && ext != null && takes(main, ext)) ext else null
      compared = uncertainty(last ?: main, main, last != null)
      sent = compared > limit(if (last != null) "extension" else "main")
    }
    val logits = if (sent && cloud != null) cloud(image) else null
    fun answer(exit: String, prediction: Int) = Answer(exit, prediction, sent, compared, main, ext)
    if (logits != null) return answer("cloud", withCloud(logits, main, ext))
    // No cloud, or one that did not answer: now the extension runs where it was skipped.
    val last = ext ?: if (needed) extended(image, main) else null
    val taken = if (last != null && takes(main, last)) last else null
    return answer(if (taken != null) "extension" else "main", (taken ?: main).prediction)
  }

  private fun run(signature: String, image: ByteArray, features: ByteBuffer?): Exit {
    val outputs = interpreter.getSignatureOutputs(signature).associate {
      val bytes = interpreter.getOutputTensorFromSignature(it, signature).numBytes()
      it to ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder())
    }
    val pixels = ByteBuffer.allocateDirect(image.size).put(image).apply { rewind() }
    val inputs = mutableMapOf<String, Any>("image" to pixels)
    if (features != null) inputs["features"] = features
    interpreter.runSignature(inputs, HashMap<String, Any>(outputs), signature)
    outputs.values.forEach { it.rewind() }
    fun number(name: String) = outputs.getValue(name).getFloat(0).toDouble()
    val logits = outputs.getValue("logits").asFloatBuffer()
    return Exit(DoubleArray(logits.remaining()) { logits[it].toDouble() },
                outputs.getValue("prediction").getInt(0), number("max_prob"), number("entropy"),
                number("margin"),
                if (features == null) number("hard_probability") else 0.0, outputs["features"])
  }

  private fun limit(name: String) = point.getJSONObject("thresholds").getDouble(name)

  private fun uncertainty(exit: Exit, main: Exit, ran: Boolean): Double {
    if (policy["criterion"] != "learned") return exit.uncertainty(policy.getString("criterion"))
    val features = doubleArrayOf(
        ln(exit.maxProb), ln(max(1 - exit.maxProb, 1e-4)), exit.margin, exit.entropy,
        main.hardProbability,
        if (ran) 1.0 else 0.0, if (exit.prediction == main.prediction) 1.0 else 0.0)
    val gain = point.getJSONObject("gain")
    val logs = DoubleArray(3) { row ->
      val weights = gain.getJSONArray("features").getJSONArray(row).doubles()
      gain.getJSONArray("bias").getDouble(row) +
          weights.indices.map { weights[it] * features[it] }.sum() +
          gain.getJSONArray("classes").getJSONArray(row).getDouble(exit.prediction)
    }.logSoftmax()
    return exp(logs[2]) - exp(logs[0])
  }

  private fun needsExtension(main: Exit): Boolean {
    // The criterion `learned` gives 1 - the largest probability here.
    fun unsure() = main.uncertainty(policy.getString("criterion")) > limit("run")
    return when (policy.getString("hard_rule")) {
      "never" -> false
      "argmax" -> main.prediction in hard
      "probability" -> main.hardProbability > limit("hard")
      "uncertain" -> unsure()
      else -> main.prediction in hard && unsure()
    }
  }

  private fun extended(image: ByteArray, main: Exit): Exit {
    val own = run("extension", image, main.features)
    if (policy["edge_rule"] != "fused") return own
    val logs = fuse(main, own)
    val top = logs.sortedDescending()
    val entropy = -logs.map { exp(it) * it }.sum()
    return Exit(own.logits, logs.argmax(), exp(top[0]), entropy, exp(top[0]) - exp(top[1]))
  }

  private fun takes(main: Exit, ext: Exit) =
      policy["edge_rule"] != "most_confident" || ext.maxProb > main.maxProb

  /** Log-probabilities over all classes; main's mass where the extension has no class stays. */
  private fun fuse(main: Exit, ext: Exit?): DoubleArray {
    val heat = point.getJSONObject("temperatures")
    val logs = main.logits.over(heat.getDouble("main")).logSoftmax()
    if (ext == null) return logs
    val weight = point.getJSONObject("fusion").getDouble("edge")
    val own = ext.logits.over(heat.getDouble("extension")).logSoftmax()
    val mass = known.map { logs[it] }.toDoubleArray().logSum()
    val mixed = DoubleArray(known.size) {
      (1 - weight) * (logs[known[it]] - mass) + weight * own[it]
    }.logSoftmax()
    for (place in known.indices) logs[known[place]] = mass + mixed[place]
    return logs
  }

  private fun withCloud(logits: DoubleArray, main: Exit, ext: Exit?): Int {
    if (policy["cloud_rule"] == "replace") return logits.argmax()
    val weight = point.getJSONObject("fusion").getDouble("cloud")
    val cloud = logits.over(point.getJSONObject("temperatures").getDouble("cloud")).logSoftmax()
    val edge = fuse(main, ext)
    return DoubleArray(edge.size) { (1 - weight) * edge[it] + weight * cloud[it] }.argmax()
  }
}

/** The number of images of edge_test.json; an error if a step comes out differently. */
fun check(directory: File): Int {
  val edge = MeanetEdge(directory)
  val tests = JSONObject(File(directory, "edge_test.json").readText())
  val vectors = tests.getJSONArray("vectors")
  for (number in 0 until vectors.length()) {
    val test = vectors.getJSONObject(number)
    val image = Base64.getDecoder().decode(test.getString("image"))
    val logits = test.getJSONArray("cloud_logits").doubles()
    val asks = { _: ByteArray -> logits }
    for ((name, cloud) in listOf("with_cloud" to asks, "without_cloud" to null)) {
      val found = edge.classify(image, cloud)
      val ends = test.getJSONObject(name)
      val steps = listOf(found.sent, found.extension != null, found.exit, found.prediction)
      val expected = listOf(test["sent"], test["ran_extension"], ends["exit"], ends["prediction"])
      fun number(step: String, of: String) = test.getJSONObject(step).getDouble(of)
      val pairs = mutableListOf(found.main.entropy to number("main", "entropy"))
      if (found.extension != null) {
        val step = if (test.isNull("fused")) "extension" else "fused"
        pairs += found.extension.entropy to number(step, "entropy")
      }
      if (found.compared != null) pairs += found.compared to number("compared", "uncertainty")
      val tolerance = tests.getDouble("tolerance")
      val near = pairs.all { (one, other) -> abs(one - other) <= tolerance * max(1.0, abs(other)) }
      check(near && steps == expected) {
        "image ${test["index"]}, $name: $steps $pairs; expected $expected"
      }
    }
  }
  return vectors.length()
}
