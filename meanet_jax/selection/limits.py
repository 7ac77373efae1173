"""Limits on operating points: which points keep them, and how far off the others are.

Of every limit of `Constraints` there is one definition here: the figure that it bounds, and the
test by which calibration images show that new images keep it.
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from meanet_jax.config.constraints import ROUNDING, Constraints
from meanet_jax.errors import UserError
from meanet_jax.selection.evidence import Balanced, Evidence, Mean, Share, WorstRecall
from meanet_jax.selection.risk_control import fixed_sequence

P95_SHARE = 0.05  # of the images, that may be later than a limit on the 95th percentile


@dataclasses.dataclass(frozen=True)
class Points:
  """Operating points on validation, arrays [t], in order of increasing thresholds (fewer offloads).

  worst_energy_mj, worst_latency_ms: scalars, the most that any single image can cost. bytes_up:
  mean per image; image_bytes: of one image that is sent. latency_p95_ms: the 95th percentile over
  images; late: the share of images later than the limit on it, None without such a limit.
  late_is_counted: whether each image is late or not, rather than late with a probability.
  class_correct: right answers of each class's images, [t, c], and class_images: how many it has,
  [c]; None where no limit is on single classes.
  """

  accuracy: Float[np.ndarray, " t"]
  offload: Float[np.ndarray, " t"]
  energy_mj: Float[np.ndarray, " t"]
  latency_ms: Float[np.ndarray, " t"]
  worst_energy_mj: float
  worst_latency_ms: float
  bytes_up: Float[np.ndarray, " t"] | None = None
  image_bytes: float = 0.0
  latency_p95_ms: Float[np.ndarray, " t"] | None = None
  late: Float[np.ndarray, " t"] | None = None
  late_is_counted: bool = True
  class_correct: Int[np.ndarray, "t c"] | None = None
  class_images: Int[np.ndarray, " c"] | None = None

  @property
  def recall(self) -> Float[np.ndarray, "t c_with_images"]:
    """Of the classes that have images."""
    assert self.class_correct is not None, "points without figures of single classes"
    assert self.class_images is not None
    known = self.class_images > 0
    return self.class_correct[:, known] / self.class_images[known]

  @property
  def balanced_accuracy(self) -> Float[np.ndarray, " t"]:
    """Mean recall of the classes that have images."""
    return self.recall.mean(axis=1)

  @property
  def class_recall(self) -> Float[np.ndarray, " t"]:
    """Recall of the class that is recognised worst."""
    return self.recall.min(axis=1)


@dataclasses.dataclass(frozen=True)
class Limit:
  """One limit on one figure of every point.

  name: the field of `Constraints`. value: the figure at every point. bound: what it may at most be,
  or at least with `is_minimum`. evidence: of `shown`.
  """

  name: str
  value: Float[np.ndarray, " t"]
  bound: float
  is_minimum: bool
  evidence: Evidence

  def kept(self) -> Bool[np.ndarray, " t"]:
    """The points that keep the limit on the images that they are measured on."""
    return self._missing() <= 0

  def excess(self) -> Float[np.ndarray, " t"]:
    """How far each point is from the limit, relative to it."""
    return np.maximum(self._missing(), 0) / max(abs(self.bound), 1e-12)

  def _missing(self) -> Float[np.ndarray, " t"]:
    missing = self.bound - self.value if self.is_minimum else self.value - self.bound
    return missing - ROUNDING * abs(self.bound)

  def shown(self, num_images: int, delta: float) -> Bool[np.ndarray, " t"]:
    """The points that are shown to keep the limit, all at once, with probability 1 - delta.

    Raises:
      UserError: too few images to show it at any point.
    """
    try:
      reason = self.evidence.too_few(num_images, delta)
    except ValueError as error:
      raise UserError(
        f"no number of images can show {self.asked()}; accepted: a looser limit"
      ) from error
    if reason is not None:
      raise UserError(f"calibration has {reason.format(self.asked())}")
    count = len(self.value)
    # Safest first: few offloads for a budget, many for accuracy.
    order = np.arange(count) if self.is_minimum else np.arange(count)[::-1]
    return fixed_sequence(self.evidence.p_values(num_images), order, delta)

  def asked(self) -> str:
    """The limit as its flag has it."""
    return f"{flag_name(self.name)} {self.bound:g}"


def flag_name(field: str) -> str:
  """A field of `Constraints` as its flag is named."""
  return field.replace("_", "-")


def limits_of(points: Points, constraints: Constraints) -> list[Limit]:
  """The limits that constraints set on points."""
  asked = constraints
  found = []

  def add(name: str, bound: float | None, value: Any, evidence: Evidence | None) -> None:
    if bound is not None:
      assert value is not None, f"points without what {name} limits"
      assert evidence is not None
      found.append(Limit(name, value, bound, name.startswith("min_"), evidence))

  add("max_offload", asked.max_offload, points.offload, _share(points.offload, asked.max_offload))
  sent = None if asked.max_bytes is None else asked.max_bytes / max(points.image_bytes, 1e-12)
  add("max_bytes", asked.max_bytes, points.bytes_up, _share(points.offload, sent))
  for name, bound, value, worst in (
    ("max_energy_mj", asked.max_energy_mj, points.energy_mj, points.worst_energy_mj),
    ("max_latency_ms", asked.max_latency_ms, points.latency_ms, points.worst_latency_ms),
  ):
    scale = max(worst, 1e-12)  # a device that was measured may need nothing
    add(name, bound, value, None if bound is None else Mean(value / scale, bound / scale))
  late = None
  if points.late is not None:
    late = (Share if points.late_is_counted else Mean)(points.late, P95_SHARE)
  add("max_latency_p95_ms", asked.max_latency_p95_ms, points.latency_p95_ms, late)
  wrong = None if asked.min_accuracy is None else 1 - asked.min_accuracy
  add("min_accuracy", asked.min_accuracy, points.accuracy, _share(1 - points.accuracy, wrong))
  if asked.needs_classes:
    assert points.class_correct is not None, "points without figures of single classes"
    assert points.class_images is not None
    classes = points.class_correct, points.class_images
    balanced, worst_recall = asked.min_balanced_accuracy, asked.min_class_recall
    if balanced is not None:
      value = points.balanced_accuracy
      add("min_balanced_accuracy", balanced, value, Balanced(value, classes[1], balanced))
    if worst_recall is not None:
      test = WorstRecall(*classes, worst_recall)
      add("min_class_recall", worst_recall, points.class_recall, test)
  return found


def excess(points: Points, constraints: Constraints) -> Float[np.ndarray, " t"]:
  """How far each point is from the limits, relative to each of them and in sum; 0: it keeps all."""
  limits = limits_of(points, constraints)
  return np.sum([np.zeros(len(points.accuracy)), *(limit.excess() for limit in limits)], axis=0)


def _share(violations: Float[np.ndarray, " t"], limit: float | None) -> Share | None:
  return None if limit is None else Share(violations, limit)
