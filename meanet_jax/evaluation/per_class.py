"""How well each class is recognised: precision, recall, and their means over classes."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from meanet_jax.routing.policies import CLOUD, EXTENSION, MAIN, Route

_EXITS = {"main": MAIN, "extension": EXTENSION, "cloud": CLOUD}


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
    """As `summary.json` may hold it; null where a ratio is not defined.

    Args:
      class_names: of all classes, in order.
    """
    shares = _divided(self.exits, self.support[:, None])
    rows = zip(class_names, self.support, self.recall, self.precision, self.f1, shares, strict=True)
    return {
      "balanced_accuracy": _or_none(self.balanced_accuracy),
      "macro_f1": _or_none(self.macro_f1),
      "classes": [
        {
          "name": name,
          "support": int(support),
          "recall": _or_none(recall),
          "precision": _or_none(precision),
          "f1": _or_none(f1),
          "fraction": {exit: _or_none(share[place]) for place, exit in enumerate(_EXITS)},
        }
        for name, support, recall, precision, f1, share in rows
      ],
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
    exits=np.stack([count(labels[ended == exit]) for exit in _EXITS.values()], axis=1),
  )


def _divided(counts: np.ndarray, of: np.ndarray) -> np.ndarray:
  """Ratios in float64, NaN where there is nothing to divide by."""
  return np.where(of > 0, counts / np.maximum(of, 1), np.nan)


def _mean(values: Float[np.ndarray, " c"]) -> float:
  defined = values[~np.isnan(values)]
  return float(defined.mean()) if len(defined) else float("nan")


def _or_none(value: float) -> float | None:
  return None if np.isnan(value) else float(value)
