"""The numbers that the page's script draws, as JSON in the page."""

import csv
import io
import math
from typing import Any

import numpy as np
from jaxtyping import Int

from meanet_jax.evaluation.intervals import exact_band, exact_interval
from meanet_jax.report.colours import STYLES
from meanet_jax.report.figure_text import label
from meanet_jax.report.figures import LONGEST_NAME
from meanet_jax.report.page.contents import ReportContents
from meanet_jax.report.page.elements import script_json
from meanet_jax.report.page.learning import learning_curves
from meanet_jax.report.page.reliability import reliability

DIGITS = 10  # of a number of operating_points.csv: more than anybody reads, and half the bytes
# Columns of operating_points.csv that the slider moves, and how the script writes their numbers.
FIELDS = (
  ("threshold_main", "threshold, main", "number", ""),
  ("threshold_extension", "threshold, extension", "number", ""),
  ("threshold_hard", "threshold, hard", "number", ""),
  ("threshold_run", "threshold, run the extension", "number", ""),
  ("accuracy", "accuracy", "percent", "%"),
  ("hard_accuracy", "on hard classes", "percent", "%"),
  ("easy_accuracy", "on easy classes", "percent", "%"),
  ("fraction_main", "end at main", "percent", "%"),
  ("fraction_extension", "end at extension", "percent", "%"),
  ("fraction_cloud", "end in the cloud", "percent", "%"),
  ("bytes_up", "sent up", "number", "bytes"),
  ("energy_mj", "edge energy", "number", "mJ"),
  ("latency_ms", "latency", "number", "ms"),
  ("latency_p95_ms", "latency, p95", "number", "ms"),
  ("macs_edge", "edge compute", "count", "MACs"),
)


def embedded(contents: ReportContents) -> str:
  """The JSON, as `script_json` writes it."""
  return script_json(_data(contents))


def _data(contents: ReportContents) -> dict[str, Any]:
  run = contents.run
  curves, count = _curves(contents), contents.summary["num_examples"]
  unbarred = {*curves, "random"}  # curves have a band, and `random` is a mean over draws
  systems = {
    name: {
      "accuracy": entry["accuracy"],
      "interval": None
      if name in unbarred
      else exact_interval(round(entry["accuracy"] * count), count),
      "fraction_cloud": entry["fraction"]["cloud"],
      "energy_mj": entry["energy_mj"],
      "unused": [f"threshold_{exit}" for exit, t in entry["thresholds"].items() if t is None],
      "colour": STYLES[name].colour,
      "symbol": STYLES[name].symbol,
      "dash": STYLES[name].dash,
    }
    for name, entry in contents.summary["systems"].items()
  }
  predictions = {
    "confusion": contents.records.main.prediction,
    "confusion_system": contents.taken.prediction,
  }
  hard_classes = contents.operating_point.hard_classes.numbers.tolist()
  return {
    "systems": systems,
    "curves": curves,
    "energy": f"edge energy per image [mJ], {contents.entry['cost_basis']['energy']}",
    "classes": list(contents.class_names),
    "ticks": [label(name, LONGEST_NAME) for name in contents.class_names],
    "hard": hard_classes if contents.operating_point.policy.hard_rule != "never" else [],
    "confusions": {
      name: _cells(contents.confusion(prediction)) for name, prediction in predictions.items()
    },
    "reliability": reliability(contents),
    "learning": {} if run is None else learning_curves(run.metrics),
  }


def _curves(contents: ReportContents) -> dict[str, dict[str, Any]]:
  """Per swept system its columns, by name, and the band of its accuracy; the page's comes first.

  A column of one value is that value.
  """
  columns: dict[str, dict[str, list[float | None]]] = {}
  shown = ("chosen", *(column for column, *_ in FIELDS))
  for row in csv.DictReader(io.StringIO(contents.operating_points)):
    curve = columns.setdefault(row["system"], {column: [] for column in shown})
    for column in shown:
      curve[column].append(_number(row[column]))
  curves: dict[str, dict[str, Any]] = {}
  for name in sorted(columns, key=lambda name: name != contents.system):
    curve = columns[name]
    count = contents.summary["num_examples"]
    correct = np.rint(np.array(curve["accuracy"], float) * count).astype(np.int64)
    low, high = (np.round(end, 5).tolist() for end in exact_band(correct, count))
    packed = {column: _packed(values) for column, values in curve.items()}
    points = len(curve["chosen"])
    curves[name] = packed | {"points": points, "low": _packed(low), "high": _packed(high)}
  return curves


def _number(text: str) -> float | None:
  value = float(text or "nan")
  return None if math.isnan(value) else float(f"{value:.{DIGITS}g}")


def _packed(values: list[float | None]) -> list[float | None] | float | None:
  return values[0] if all(value == values[0] for value in values) else values


def _cells(confusion: Int[np.ndarray, "c c"]) -> list[list[int]]:
  """The cells that are not zero, as row, column and images: most classes are never confused."""
  return [[int(r), int(c), int(confusion[r, c])] for r, c in np.argwhere(confusion)]
