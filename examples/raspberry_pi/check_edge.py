"""Compares meanet_edge.py with an export's edge_test.json: python check_edge.py EXPORT."""

import base64
import json
import sys
from pathlib import Path

import numpy as np
from meanet_edge import Edge


def check(directory):
  """Compares with edge_test.json and gives the number of images."""
  edge, tests = Edge(directory), json.loads((Path(directory) / "edge_test.json").read_text())
  for test in tests["vectors"]:
    image = np.frombuffer(base64.b64decode(test["image"]), np.uint8).reshape(edge.shape)
    for ends, cloud in (
      ("with_cloud", lambda _, t=test: t["cloud_logits"]),
      ("without_cloud", None),
    ):
      found = edge.classify(image, cloud)
      steps = [found[key] for key in ("sent", "ran_extension", "exit", "prediction")]
      expected = [test["sent"], test["ran_extension"], *test[ends].values()]
      pairs = [(found["logits"]["main"][0], test["main"]["logits"])]
      if test["ran_extension"]:
        pairs.append((found["logits"]["extension"][0], test["extension"]["logits"]))
      if test["compared"]:
        pairs.append((found["uncertainty"], test["compared"]["uncertainty"]))
      limit = tests["tolerance"]
      if steps != expected or not all(np.allclose(*pair, limit, limit) for pair in pairs):
        raise SystemExit(f"image {test['index']}, {ends}: {steps} {pairs}; expected {expected}")
  return len(tests["vectors"])


if __name__ == "__main__":
  print(f"{check(sys.argv[1])} images agree")
