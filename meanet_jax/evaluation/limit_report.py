"""What was asked of an operating point, what it keeps on validation, and what it does on test."""

import dataclasses
from typing import Any

import numpy as np

from meanet_jax.config.constraints import FIGURES, Constraints
from meanet_jax.cost.energy import ImageCost
from meanet_jax.evaluation.context import Context, cost_shares
from meanet_jax.evaluation.intervals import (
  Interval,
  balanced_interval,
  drawn_shares,
  exact_interval,
  quantiles_around,
  worst_interval,
)
from meanet_jax.evaluation.per_class import per_class
from meanet_jax.evaluation.systems import Curve, measured_points, route_selected
from meanet_jax.routing.counts import Counts
from meanet_jax.selection.limits import Points, limits_of

EXACT, DRAWN = "exact binomial", "drawn shares of images"


def limit_report(context: Context, curve: Curve, constraints: Constraints) -> dict[str, Any]:
  """The entries `limits` and `noise` of a system in summary.json.

  limits: by field of `Constraints`: `asked`; `validation` and `test`, the figure on the images that
  the operating point was selected on and on the test split; `kept_on_validation`, `kept_on_test`;
  `interval`, of the figure on test, [low, high] at 95%; `interval_method`.
  noise: None, or where the cheapest of the most accurate points was taken what `noise_of` says.

  Args:
    context: of the test split.
    curve: of a system with an operating point.
    constraints: under which it was selected.
  """
  assert curve.on_validation is not None
  assert curve.operating_point is not None
  point = curve.selected
  on_test = _on_test(context, curve, constraints)
  intervals = _Intervals(context, curve, on_test)
  found = {}
  for asked, tested in zip(
    limits_of(curve.on_validation, constraints), limits_of(on_test, constraints), strict=True
  ):
    interval, method = intervals.of(asked.name)
    found[asked.name] = {
      "asked": asked.bound,
      "validation": float(asked.value[point]),
      "kept_on_validation": bool(asked.kept()[point]),
      "test": float(tested.value[0]),
      "kept_on_test": bool(tested.kept()[0]),
      "interval": list(interval),
      "interval_method": method,
    }
  return {"limits": found, "noise": noise_of(curve, constraints)}


def untested(limit: dict[str, Any]) -> dict[str, Any]:
  """An entry of `limits` without what is of test."""
  return {name: limit[name] for name in ("asked", "validation", "kept_on_validation")}


def noise_of(curve: Curve, constraints: Constraints) -> dict[str, float] | None:
  """How the selected point stands to the most accurate one, on validation.

  accuracy, fraction_cloud: of the selected point. highest_accuracy, highest_fraction_cloud: of the
  most accurate one that keeps the limits. standard_error: of that accuracy, as a share of images.
  None where another rule selected, or nothing was to select.
  """
  points, selection = curve.on_validation, curve.selection
  other = (constraints.offload_penalty, constraints.min_accuracy)
  if constraints.spend_budget or any(field is not None for field in other):
    return None
  if points is None or selection is None or not curve.is_swept or selection.unmet is not None:
    return None
  return {
    "accuracy": float(points.accuracy[selection.point]),
    "fraction_cloud": float(points.offload[selection.point]),
    "highest_accuracy": float(points.accuracy[selection.highest]),
    "highest_fraction_cloud": float(points.offload[selection.highest]),
    "standard_error": selection.standard_error,
  }


def _on_test(context: Context, curve: Curve, constraints: Constraints) -> Points:
  """The selected operating point alone, on the test split."""
  point = curve.selected
  counts = Counts(*(values[point : point + 1] for values in curve.counts))
  points = measured_points(context, curve.policy, counts, constraints)
  if not constraints.needs_classes:
    return points
  assert curve.operating_point is not None
  taken = route_selected(curve.operating_point, curve.records)
  found = per_class(taken, curve.records.label, context.hard_classes.num_classes)
  return dataclasses.replace(points, class_correct=found.correct[None], class_images=found.support)


class _Intervals:
  """The intervals of one operating point on the test split."""

  def __init__(self, context: Context, curve: Curve, on_test: Points):
    self._context, self._curve, self._on_test = context, curve, on_test
    self._drawn: ImageCost | None = None

  def of(self, name: str) -> tuple[Interval, str]:
    """The interval of the figure that a field of `Constraints` limits, and its method."""
    curve, points, n = self._curve, self._on_test, self._context.num_images
    sent = exact_interval(int(curve.counts.cloud[curve.selected]), n)
    if name == "max_offload":
      return sent, EXACT
    if name == "max_bytes":
      low, high = (share * points.image_bytes for share in sent)
      return (low, high), EXACT
    if name == "min_accuracy":
      return exact_interval(int(curve.counts.correct[curve.selected]), n), EXACT
    if name in FIGURES:  # the others, which are costs
      figure = FIGURES[name]
      drawn = getattr(self._drawn_costs(), figure)
      return quantiles_around(float(getattr(points, figure)[0]), np.asarray(drawn)), DRAWN
    assert points.class_correct is not None
    assert points.class_images is not None
    classes = points.class_correct[0], points.class_images
    if name == "min_balanced_accuracy":
      return balanced_interval(*classes), "bootstrap over images of each class"
    return worst_interval(*classes), "exact binomial, all classes at once"

  def _drawn_costs(self) -> ImageCost:
    """Of shares that the images are evidence for; drawn once."""
    if self._drawn is None:
      context, curve = self._context, self._curve
      counts = Counts(*(values[curve.selected] for values in curve.counts))
      shares = cost_shares(context, curve.policy, counts)
      drawn = drawn_shares(curve.policy, shares, context.num_images)
      self._drawn = context.cost_model.of(drawn)
    return self._drawn
