"""A made-up evaluation that is awkward to show."""

import itertools

import numpy as np

from meanet_jax.data.splits import ArraySplit
from meanet_jax.report.page.contents import ReportContents, RunParts
from meanet_jax.report.page.embedded import FIELDS
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.operating_point import OperatingPoint, Temperatures
from meanet_jax.routing.policies import PRESETS, fixed_thresholds
from meanet_jax.routing.rules import MAIN, Route
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
    "cost_basis": {"energy": "estimated", "latency": "measured"},
  }
  taken = Route(np.full(40, MAIN, np.int32), records.label, np.zeros(40, bool))
  limit = {"asked": 0.2, "validation": 0.1, "test": 0.25, "interval": [0.125, 0.5]}
  limits = {"limits": {"max_offload": limit | {"kept_on_test": False}}}
  point = OperatingPoint(
    PRESETS["paper"],
    fixed_thresholds()._replace(main=np.float32(0.25)),
    Temperatures(),
    HardClasses(hard, 6),
  )
  return ReportContents(
    summary={
      "dataset": "<i>invented",
      "split": "test",
      "num_examples": 40,
      "skipped_images": {"train": 3, "test": 0},
      "num_classes": 6,
      "constraints": {"confidence": 0.95},
      "profile": {"name": "<s>board"},
      "verdict": {"system": None, "sentence": "no system keeps <min_accuracy> 1"},
      "systems": {"main_cloud": entry, "meanet": entry | limits | {"unmet": "<u>out of reach"}},
    },
    system="meanet",
    operating_points="\n".join(points) + "\n",
    class_names=NAMES,
    operating_point=point,
    records=records,
    taken=taken,
    run=RunParts(
      hard_classes={
        "classes": [1, 3],
        "precision": [0.5, None, 0.5, 0.5, 0.5, 0.5],
        "tie": {"precision": 0.5, "selected": [3], "left_out": [0], "decided_by": "lower recall"},
      },
      config={"a": {"b": [1, 2]}, "c": "</td><script>boom()</script>"},
      environment={"python": "3", "packages": {"<x>": "1"}},
      metrics=({"stage": "<b>main", "step": 1, "epoch": 1.0, "loss": 2.0},),
      test=ArraySplit(images, records.label),
    ),
  )
