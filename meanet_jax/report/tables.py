"""Tables: the one in the terminal and operating_points.csv."""

import csv
import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from meanet_jax import log
from meanet_jax.evaluation.context import Context
from meanet_jax.evaluation.systems import Curve
from meanet_jax.selection.exact import exact_curve, pareto_front

COLUMNS = (
  ("accuracy", "accuracy [%]"),
  ("hard_accuracy", "hard [%]"),
  ("easy_accuracy", "easy [%]"),
  ("main", "main [%]"),
  ("extension", "ext. [%]"),
  ("cloud", "cloud [%]"),
  ("macs_edge", "edge kMAC"),
  ("bytes_up", "bytes up"),
  ("energy_mj", "energy [mJ]"),
  ("latency_ms", "latency [ms]"),
  ("latency_p95_ms", "p95 [ms]"),
)


def rows(summary: dict[str, Any]) -> Iterator[list[str]]:
  """One row of texts per system, under `COLUMNS`, behind its name."""
  for name, entry in summary["systems"].items():
    values = entry | entry["fraction"]
    yield [name, *(figure_text(column, values[column]) for column, _ in COLUMNS)]


def show_systems(summary: dict[str, Any]) -> None:
  """Prints the systems of a summary as a table."""
  basis = summary["systems"]["meanet"]["cost_basis"]
  of_what = ", ".join(f"{name} {word}" for name, word in basis.items())
  title = f"{summary['dataset']}, {summary['num_examples']} {summary['split']} images ({of_what})"
  log.table(title, ("system", *(title for _, title in COLUMNS)), rows(summary))


def operating_points_csv(points: dict[str, np.ndarray]) -> str:
  """A table of columns (`Evaluation.points`) as CSV: a line for each operating point."""
  text = io.StringIO()
  writer = csv.writer(text, lineterminator="\n")
  writer.writerow(points)
  # Truth values as 0 and 1, and numbers with all their digits.
  columns = (
    (values.astype(int) if values.dtype == bool else values).tolist() for values in points.values()
  )
  writer.writerows(zip(*columns, strict=True))
  return text.getvalue()


def exact_points_csv(systems: dict[str, Curve], context: Context) -> str:
  """The exact operating points of every swept system on the test split, a line each.

  With `offload` `early` all of them; with `late` the Pareto front over both thresholds.
  """
  text = io.StringIO()
  writer = csv.writer(text, lineterminator="\n")
  columns = ("system", "threshold_main", "threshold_extension", "correct", "cloud")
  writer.writerow([*columns, "accuracy", "fraction_cloud"])
  hard_classes = context.hard_classes
  for name, curve in systems.items():
    if not curve.is_swept:
      continue
    records, fixed = curve.records, curve.fixed
    if curve.policy.offload == "late":
      front = pareto_front(curve.policy, records, hard_classes.mask, fixed)
      points = (front.main, front.extension, front.correct, front.cloud)
    else:
      exact = exact_curve(curve.policy, records, hard_classes, fixed)
      points = (exact.main, exact.extension, exact.counts.correct, exact.counts.cloud)
    for main, extension, correct, cloud in zip(*(p.tolist() for p in points), strict=True):
      shares = (correct / context.num_images, cloud / context.num_images)
      writer.writerow([name, main, extension, correct, cloud, *shares])
  return text.getvalue()


def figure_text(column: str, value: float | None) -> str:
  """A figure of one of `COLUMNS` in its unit; a dash for none."""
  if value is None:
    return "-"
  if column in ("energy_mj", "latency_ms", "latency_p95_ms"):
    return f"{value:.4g}"
  if column == "macs_edge":
    return f"{value / 1e3:.1f}"
  if column == "bytes_up":
    return f"{value:.1f}"
  return f"{100 * value:.2f}"
