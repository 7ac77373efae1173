"""How well each class is recognised: precision, recall, and their means over classes."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from meanet_jax.evaluation.context import plain
from meanet_jax.evaluation.systems import Curve, route_selected
from meanet_jax.routing.rules import CLOUD, EXIT_NAMES, EXTENSION, MAIN, Route


@dataclasses.dataclass(frozen=True)
class PerClass:
  """Counts of a routed split, of each class; int64 [c].

  support: images of the class. predicted: images answered as the class. correct: both. exits: of
  the class's images those that end at main, extension and cloud; [c, 3].
  """

  support: Int[np.ndarray, " c"]
  predicted: Int[np.ndarray, " c"]
  correct: Int[np.ndarray, " c"]
  exits: Int[np.ndarray, "c 3"]

  @property
  def recall(self) -> Float[np.ndarray, " c"]:
    """Correct answers of the class's images; NaN for a class without images."""
    return _divided(self.correct, self.support)

  @property
  def precision(self) -> Float[np.ndarray, " c"]:
    """Correct answers of the images answered as the class; NaN for a class never answered."""
    return _divided(self.correct, self.predicted)

  @property
  def f1(self) -> Float[np.ndarray, " c"]:
    """Harmonic mean of precision and recall, 2 correct / (support + predicted): 0 for a class that
    has images or answers and no correct one, NaN for a class that has neither.
    """
    return _divided(2 * self.correct, self.support + self.predicted)

  @property
  def balanced_accuracy(self) -> float:
    """Mean recall of the classes that have images; NaN without any."""
    return _mean(self.recall)

  @property
  def macro_f1(self) -> float:
    """Mean F1 of the classes that have images or answers; NaN without any."""
    return _mean(self.f1)

  def to_json(self, class_names: Sequence[str]) -> dict[str, Any]:
    """Columns over classes, as `summary.json` has them; null where a ratio is not defined.

    Args:
      class_names: of all classes, in order.
    """
    shares = _divided(self.exits, self.support[:, None])
    return {
      "names": list(class_names),
      "support": self.support.tolist(),
      "recall": _or_none(self.recall),
      "precision": _or_none(self.precision),
      "f1": _or_none(self.f1),
      "fraction": {exit: _or_none(shares[:, place]) for place, exit in enumerate(EXIT_NAMES)},
    }


def per_class(route: Route, labels: Int[np.ndarray, " n"], num_classes: int) -> PerClass:
  """What came of each class.

  Args:
    route: of n images, at an operating point; original class numbers.
    labels: original class numbers.
    num_classes: C, above every label and answer.
  """
  predictions, ended = np.asarray(route.prediction), np.asarray(route.exit)

  def count(classes: Int[np.ndarray, " m"]) -> Int[np.ndarray, " c"]:
    return np.bincount(classes, minlength=num_classes)

  return PerClass(
    support=count(labels),
    predicted=count(predictions),
    correct=count(labels[predictions == labels]),
    exits=np.stack([count(labels[ended == exit]) for exit in (MAIN, EXTENSION, CLOUD)], axis=1),
  )


def with_per_class(
  entries: Mapping[str, dict[str, Any]], curves: Mapping[str, Curve], class_names: Sequence[str]
) -> dict[str, dict[str, Any]]:
  """Entries of summary.json with `balanced_accuracy`, `macro_f1` and `per_class` of their points.

  Systems without an operating point, which send images by something else than uncertainty, stay as
  they are.

  Args:
    entries, curves: of the same systems, by name.
    class_names: of all classes, in order.
  """

  def added(curve: Curve) -> dict[str, Any]:
    if curve.operating_point is None:
      return {}
    route, labels = route_selected(curve.operating_point, curve.records), curve.records.label
    found = per_class(route, labels, len(class_names))
    means = plain({"balanced_accuracy": found.balanced_accuracy, "macro_f1": found.macro_f1})
    return means | {"per_class": found.to_json(class_names)}

  return {name: entry | added(curves[name]) for name, entry in entries.items()}


def _divided(counts: np.ndarray, of: np.ndarray) -> np.ndarray:
  """Ratios in float64, NaN where there is nothing to divide by."""
  return np.where(of > 0, counts / np.maximum(of, 1), np.nan)


def _mean(values: Float[np.ndarray, " c"]) -> float:
  defined = values[~np.isnan(values)]
  return float(defined.mean()) if len(defined) else float("nan")


def _or_none(values: Float[np.ndarray, " c"]) -> list[float | None]:
  return [None if np.isnan(value) else float(value) for value in values]
