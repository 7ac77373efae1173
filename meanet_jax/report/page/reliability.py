"""Sections about probabilities: are they right, and do they foretell wrong answers?"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from meanet_jax.report.page.contents import ReportContents
from meanet_jax.report.page.elements import paragraph, plot, section, table
from meanet_jax.report.uncertainties import compared_exits
from meanet_jax.selection.temperature import (
  BINS,
  bin_numbers,
  expected_calibration_error,
  failure_auroc,
)


def reliability(contents: ReportContents) -> dict[str, dict[str, Any]]:
  """Of each exit: mean probability, share of right answers and images in bins of probability.

  `error` is the expected calibration error. The extension has images of its classes alone. Exits
  without an image are left out.
  """
  records, known = contents.records, contents.operating_point.hard_classes.known
  label = np.asarray(records.label)
  of_exits = {"main": (records.main, np.ones(len(label), bool))}
  if contents.operating_point.policy.hard_rule != "never":
    of_exits["extension"] = (records.extension, np.isin(label, known))
  of_exits["cloud"] = (records.cloud, np.ones(len(label), bool))
  found = {}
  for exit, (scores, of) in of_exits.items():
    if of.any():
      sure, right = np.asarray(scores.max_prob)[of], (np.asarray(scores.prediction) == label)[of]
      error = expected_calibration_error(sure, right)
      found[exit] = {"error": error, "num_examples": int(of.sum())} | _binned(sure, right)
  return found


def calibration_section(contents: ReportContents) -> str:
  """Calibration of every exit, and how well uncertainty foretells wrong answers on the edge."""
  temperatures = contents.operating_point.temperatures._asdict()
  before: Mapping[str, Any] = contents.summary.get("calibration", {})
  rows = []
  for exit, found in reliability(contents).items():
    raw = before.get(exit, {}).get("expected_calibration_error")
    texts = (f"{temperatures[exit]:.3g}", _points(raw), _points(found["error"]))
    rows.append((exit, str(found["num_examples"]), *texts))
  return section(
    "calibration",
    "Calibration and failure prediction",
    paragraph(
      "Of answers given with probability 0.8, are 80 % right? Points on the diagonal say yes. The "
      f"expected calibration error is the mean distance from it, in points, over {BINS} bins (Guo "
      "et al. 2017); temperatures were fitted on validation."
    ),
    plot("reliability", "share of right answers against probability, for every exit"),
    table(
      "Calibration of every exit",
      ("exit", "images", "temperature", "error, uncalibrated", "error, calibrated"),
      rows,
    ),
    paragraph(
      "Failure prediction: the probability that a wrong answer of the edge is more uncertain than "
      "a right one (area under the ROC curve). 0.5 is a guess, 1 is perfect."
    ),
    table("Failure prediction", ("uncertainty", "AUROC"), _failures(contents)),
  )


def _failures(contents: ReportContents) -> list[tuple[str, str]]:
  studied = contents.summary.get("study", {}).get("failure_auroc")
  if studied is None:
    panels = compared_exits(contents.operating_point, contents.records)
    studied = {
      f"{panel.measure}, {panel.exit}": failure_auroc(panel.uncertainty, ~panel.right)
      for panel in panels
    }
  return [(name, "-" if value is None else f"{value:.3f}") for name, value in studied.items()]


def _binned(sure: Float[np.ndarray, " m"], right: Bool[np.ndarray, " m"]) -> dict[str, list[float]]:
  place = bin_numbers(sure)
  images = np.bincount(place, minlength=BINS)
  of = images > 0
  sums = (np.bincount(place, weights=values, minlength=BINS) for values in (sure, right))
  probability, share = (np.round(total[of] / images[of], 5).tolist() for total in sums)
  return {"probability": probability, "right": share, "images": images[of].tolist()}


def _points(error: float | None) -> str:
  return "-" if error is None else f"{100 * error:.2f}"
