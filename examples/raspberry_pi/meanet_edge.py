"""The edge in Python with NumPy and LiteRT alone; check_edge.py checks it."""

import json
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

EXITS = ("main", "extension")


class Edge:
  """classify(image) runs the extension only where the policy needs it."""

  def __init__(self, directory):
    directory = Path(directory)
    found = json.loads((directory / "edge.json").read_text())
    if (found["batch_size"], found["image_dtype"]) != (1, "uint8"):
      raise SystemExit("accepted: an export with --batch 1 and --input uint8")
    self.shape, self.class_names = found["image_shape"], found["class_names"]
    networks, policy = (
      Interpreter(str(directory / name)) for name in ("edge.tflite", "policy.tflite")
    )
    self.main, self.extension = map(networks.get_signature_runner, EXITS)
    names = policy.get_signature_list()
    self.policy = {name: policy.get_signature_runner(name) for name in names}

  def classify(self, image, cloud=None):
    """image: uint8 [h, w, c]. cloud: gives the cloud's logits [C] for it, or None if it fails."""
    main = self.main(image=image[None])
    logits = {"main": main["logits"]}
    decision = self.rules("after_main", **logits)
    needed, ran = decision["run_extension"], False

    def extended():
      logits["extension"] = self.extension(image=image[None], features=main["features"])["logits"]
      return self.rules("after_extension", **logits)

    if needed and not decision["send"]:
      decision, ran = extended(), True
    found = {"sent": bool(decision["send"]), "ran_extension": ran, "logits": logits}
    found["uncertainty"] = decision["uncertainty"]
    answer = cloud(image) if decision["send"] and cloud else None
    if answer is not None:
      if len(answer) != len(self.class_names):
        raise ValueError(f"{len(answer)} logits; accepted: {len(self.class_names)}")
      logits["cloud"] = np.array([answer], np.float32)
      rule = "after_extension_and_cloud" if ran else "after_cloud"
      return found | {"exit": "cloud", "prediction": self.rules(rule, **logits)["prediction"]}
    if needed and not ran:  # no cloud, or one that did not answer
      decision = extended()
    return found | {"exit": EXITS[decision["exit"]], "prediction": decision["prediction"]}

  def rules(self, name, **logits):
    """What a signature of policy.tflite says."""
    found = self.policy[name](**logits)
    return {key: value[0].item() for key, value in found.items()}
