"""The edge in Python with NumPy and LiteRT alone: python meanet_edge.py EXPORT checks itself."""

import base64
import json
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

KNOWN = {
  "hard_rule": ("argmax", "probability", "argmax_uncertain", "uncertain", "never"),
  "edge_rule": ("extension", "most_confident", "fused"),
  "offload": ("early", "late", "never", "always"),
  "criterion": ("entropy", "max_prob", "margin", "learned"),
  "cloud_rule": ("replace", "fused"),
}


def log_softmax(logits):
  """Log-probabilities of one exit."""
  shifted = logits - logits.max()
  return shifted - np.log(np.exp(shifted).sum())


def scores(logs):
  """What a signature gives, from log-probabilities over all classes."""
  p = np.exp(logs)
  first, second = np.sort(p)[[-1, -2]]
  entropy, margin = -(p * logs).sum(), first - second
  return {"prediction": int(logs.argmax()), "max_prob": first, "entropy": entropy, "margin": margin}


class Edge:
  """classify(image) runs the extension only where the policy needs it."""

  def __init__(self, directory):
    files = json.loads((Path(directory) / "edge.json").read_text())
    self.point, self.policy = files["operating_point"], files["operating_point"]["policy"]
    for rule, value in self.policy.items():
      if value not in KNOWN.get(rule, ()):
        raise SystemExit(f"edge.json has the rule {rule} {value!r}, which this program has not")
    if (files["batch_size"], files["image_dtype"]) != (1, "uint8"):
      raise SystemExit("accepted: an export with --batch 1 and --input uint8")
    self.shape, count = files["image_shape"], self.point["num_classes"]
    all_known = self.point["extension_classes"] == "all"
    self.known = np.arange(count) if all_known else np.array(self.point["hard_classes"])
    interpreter = Interpreter(str(Path(directory) / "edge.tflite"))
    self.main, self.extension = map(interpreter.get_signature_runner, ("main", "extension"))

  def classify(self, image, cloud=None):
    """image: uint8 [h, w, c]. cloud: gives the cloud's logits [C] for it, or None if it fails."""
    policy, limits = self.policy, self.point["thresholds"]
    out = self.main(image=image[None])
    main = {name: value[0] for name, value in out.items()}
    early = policy["offload"] == "always" or (
      policy["offload"] == "early" and self.uncertainty(main, main, False) > limits["main"]
    )
    hard = self.needs_extension(main, limits)
    ext = self.extended(image, main) if hard and not early else None
    sent, compared = early, None
    if policy["offload"] in ("early", "late"):
      at_main = ext is None or policy["offload"] == "early" or not self.takes(main, ext)
      value = self.uncertainty(main if at_main else ext, main, not at_main)
      compared = (value, limits["main" if at_main else "extension"])
      sent = bool(value > compared[1])
    logits = cloud(image) if sent and cloud else None
    if logits is not None:
      answer = ("cloud", self.with_cloud(np.asarray(logits, np.float32), main, ext))
    else:  # no cloud, or one that did not answer: now the extension runs where it was skipped
      last = self.extended(image, main) if hard and ext is None else ext
      taken = last is not None and self.takes(main, last)
      answer = ("extension" if taken else "main", int((last if taken else main)["prediction"]))
    return {"answer": answer, "sent": sent, "compared": compared, "main": main, "extension": ext}

  def uncertainty(self, exit, main, ran):
    name = self.policy["criterion"]
    if name == "learned":
      return self.gain(exit, main, ran)
    return exit["entropy"] if name == "entropy" else 1 - exit[name]

  def gain(self, exit, main, ran):
    rest, same = max(1 - exit["max_prob"], 1e-4), exit["prediction"] == main["prediction"]
    known = [np.log(exit["max_prob"]), np.log(rest), exit["margin"], exit["entropy"]]
    features = np.array([*known, main["hard_probability"], ran, same], np.float32)
    weights = {name: np.array(rows) for name, rows in self.point["gain"].items()}
    classes = weights["classes"][:, exit["prediction"]]
    p = np.exp(log_softmax(weights["features"] @ features + classes + weights["bias"]))
    return p[2] - p[0]

  def needs_extension(self, main, limits):
    rule, is_hard = self.policy["hard_rule"], main["prediction"] in self.point["hard_classes"]
    if rule == "probability":
      return main["hard_probability"] > limits["hard"]
    if rule in ("argmax", "never"):
      return rule == "argmax" and is_hard
    name = {"learned": "max_prob"}.get(self.policy["criterion"], self.policy["criterion"])
    unsure = (main["entropy"] if name == "entropy" else 1 - main[name]) > limits["run"]
    return unsure and (rule == "uncertain" or is_hard)

  def extended(self, image, main):
    out = self.extension(image=image[None], features=main["features"][None])
    own = {name: value[0] for name, value in out.items()}
    fused = self.policy["edge_rule"] == "fused"
    return own | (scores(self.fuse(main, own)) if fused else {})

  def takes(self, main, ext):
    return self.policy["edge_rule"] != "most_confident" or ext["max_prob"] > main["max_prob"]

  def fuse(self, main, ext):
    """Log-probabilities over all classes; main's mass on classes the extension has not stays."""
    heat, weight = self.point["temperatures"], self.point["fusion"]["edge"]
    logs = log_softmax(main["logits"] / np.float32(heat["main"]))
    if ext is not None:
      known = logs[self.known]
      mass = np.log(np.exp(known).sum())
      own = log_softmax(ext["logits"] / np.float32(heat["extension"]))
      logs[self.known] = mass + log_softmax((1 - weight) * (known - mass) + weight * own)
    return logs

  def with_cloud(self, logits, main, ext):
    if self.policy["cloud_rule"] == "replace":
      return int(logits.argmax())
    weight, heat = self.point["fusion"]["cloud"], self.point["temperatures"]["cloud"]
    both = (1 - weight) * self.fuse(main, ext) + weight * log_softmax(logits / heat)
    return int(both.argmax())


def decoded(test, shape):
  """The image of an entry of edge_test.json."""
  return np.frombuffer(base64.b64decode(test["image"]), np.uint8).reshape(shape)


def check(directory):
  """Compares with edge_test.json and gives the number of images."""
  edge, tests = Edge(directory), json.loads((Path(directory) / "edge_test.json").read_text())
  for test in tests["vectors"]:
    image = decoded(test, edge.shape)
    for name, cloud in (
      ("with_cloud", lambda _, t=test: t["cloud_logits"]),
      ("without_cloud", None),
    ):
      found = edge.classify(image, cloud)
      steps = [found["sent"], found["extension"] is not None, *found["answer"]]
      expected = [test["sent"], test["ran_extension"], *test[name].values()]
      pairs = [(found["main"][key], test["main"][key]) for key in ("logits", "entropy", "margin")]
      if test["compared"]:
        pairs.append((found["compared"], list(test["compared"].values())[1:]))
      if test["ran_extension"]:
        pairs.append((found["extension"]["logits"], test["extension"]["logits"]))
        pairs.append(
          (found["extension"]["entropy"], (test["fused"] or test["extension"])["entropy"])
        )
      limit = tests["tolerance"]
      if steps != expected or not all(np.allclose(*pair, limit, limit) for pair in pairs):
        raise SystemExit(f"image {test['index']}, {name}: {steps} {pairs}; expected {expected}")
  return len(tests["vectors"])


if __name__ == "__main__":
  print(f"{check(sys.argv[1])} images agree")
