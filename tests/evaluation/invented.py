"""A made-up evaluation that is awkward to show."""

import itertools

import numpy as np

from meanet_jax.data.splits import ArraySplit
from meanet_jax.evaluation.per_class import per_class
from meanet_jax.report.html_report import FIELDS, ReportContents
from meanet_jax.routing.hard_classes import confusion_matrix
from meanet_jax.routing.policies import MAIN, Route
from tests.experiments import random_records

NAMES = ("</script><script>boom()</script>", "<b>&amp;", '"quoted"', "naïve ☃", "$title", "%{x}")


def invented(rng: np.random.Generator) -> ReportContents:
  """Colour images larger than shown, names like attacks, no wrong image, an absent figure."""
  hard = np.array([1, 3], np.int32)
  records = random_records(rng, 40, 6, hard)
  right = records.main._replace(prediction=records.label)
  records = records._replace(main=right)
  images = rng.integers(0, 256, (40, 200, 150, 3)).astype(np.uint8)
  columns = [column for column, *_ in FIELDS]
  points = ["system,chosen," + ",".join(columns)]
  for system, count in itertools.product(("main_cloud", "meanet"), range(3)):
    values = ["nan" if c == "hard_accuracy" else str(0.25 * count) for c in columns]
    points.append(f"{system},{int(count == 1)}," + ",".join(values))
  entry = dict.fromkeys(columns, 0.25) | {
    "hard_accuracy": None,
    "macs_cloud": 0.0,
    "fraction": dict.fromkeys(("main", "extension", "cloud"), 0.25),
    "thresholds": {"main": 0.25, "extension": None, "hard": None},
  }
  taken = Route(np.full(40, MAIN, np.int32), records.label, np.zeros(40, bool))
  classes = {
    "balanced_accuracy": 1.0,
    "macro_f1": None,
    "per_class": per_class(taken, records.label, 6).to_json(NAMES),
  }
  return ReportContents(
    summary={
      "dataset": "<i>invented",
      "split": "test",
      "num_examples": 40,
      "skipped_images": {"train": 3, "test": 0},
      "num_classes": 6,
      "constraints": {"confidence": 0.95},
      "verdict": {"system": None, "sentence": "no system keeps <min_accuracy> 1"},
      "systems": {"main_cloud": entry, "meanet": entry | classes | {"unmet": "<u>out of reach"}},
    },
    operating_points="\n".join(points) + "\n",
    class_names=NAMES,
    hard_classes={"classes": [1, 3], "precision": [0.5, None, 0.5, 0.5, 0.5, 0.5]},
    confusion=confusion_matrix(records.label, records.main.prediction, 6),
    taken=taken,
    test=ArraySplit(images, records.label),
    config={"a": {"b": [1, 2]}, "c": "</td><script>boom()</script>"},
    environment={"python": "3", "packages": {"<x>": "1"}},
  )
