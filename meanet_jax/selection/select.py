"""The selection of an operating point on validation under stated constraints."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from meanet_jax.config.constraints import Constraints
from meanet_jax.errors import UserError
from meanet_jax.selection.risk_control import (
  binomial_p_value,
  bounded_p_value,
  fixed_sequence,
  images_needed,
)


class Points(NamedTuple):
  """Operating points on validation, arrays [t], in order of increasing thresholds (fewer offloads).

  worst_energy_mj, worst_latency_ms: scalars, the most that any single image can cost.
  """

  accuracy: Float[np.ndarray, " t"]
  offload: Float[np.ndarray, " t"]
  energy_mj: Float[np.ndarray, " t"]
  latency_ms: Float[np.ndarray, " t"]
  worst_energy_mj: float
  worst_latency_ms: float


class Selection(NamedTuple):
  """point: the selected one, or the nearest if none keeps the limits; unmet then says why."""

  point: int
  unmet: str | None


def select(points: Points, num_images: int, constraints: Constraints) -> Selection:
  """The operating point under constraints.

  Among the points that keep every limit: with a penalty, the one of largest accuracy - penalty x
  offloads; else with `min_accuracy` the one that offloads least; else the one that offloads most.
  That one spends the whole budget, as budgeted evaluations do (MSDNet, Huang et al. 2018): which
  share a threshold offloads is known from few images, which of two is more accurate is not.

  Args:
    points: on validation images; with a confidence, on such that chose nothing else.
    num_images: of those.
    constraints: at least one limit or a penalty; with a confidence, at least one limit.

  Raises:
    UserError: no constraint, a confidence in no limit, or too few images for the confidence.
  """
  limits = _limits(points, constraints)
  if not limits and constraints.offload_penalty is None:
    raise UserError(
      "no constraint was given; expected an offload penalty, or a limit on offload, energy, "
      "latency or accuracy"
    )
  if not limits and constraints.confidence is not None:
    raise UserError(
      f"confidence {constraints.confidence:g} was asked with an offload penalty alone, which "
      "bounds nothing; expected a limit on offload, energy, latency or accuracy"
    )
  delta = (
    None if constraints.confidence is None else (1 - constraints.confidence) / max(len(limits), 1)
  )
  kept = np.ones(len(points.accuracy), bool)
  for limit in limits:
    kept &= limit.kept() if delta is None else limit.shown(num_images, delta)
  if not kept.any():
    nearest = int(np.argmin(excess(points, constraints)))
    names = " and ".join(f"{limit.name} {limit.bound:g}" for limit in limits)
    at = ", ".join(f"{limit.name} {limit.value[nearest]:.4g}" for limit in limits)
    sure = "" if delta is None else f" with confidence {constraints.confidence:g}"
    return Selection(nearest, f"no threshold keeps {names}{sure}; the nearest has {at}")
  if constraints.offload_penalty is not None:
    score = points.accuracy - constraints.offload_penalty * points.offload
  else:
    score = -points.offload if constraints.min_accuracy is not None else points.offload
  best = np.where(kept, score, -np.inf)
  return Selection(int(np.flatnonzero(best == best.max())[-1]), None)


def excess(points: Points, constraints: Constraints) -> Float[np.ndarray, " t"]:
  """How far each point is from the limits, relative to each of them and in sum; 0: it keeps all."""
  limits = _limits(points, constraints)
  return np.sum([np.zeros(len(points.accuracy)), *(limit.excess() for limit in limits)], axis=0)


@dataclasses.dataclass(frozen=True)
class _Limit:
  """One limit on one quantity of every point.

  worst: the most that a single image can have; None for shares of images.
  """

  name: str
  value: Any
  bound: float
  is_minimum: bool
  worst: float | None

  def kept(self) -> Bool[np.ndarray, " t"]:
    return self.value >= self.bound if self.is_minimum else self.value <= self.bound

  def excess(self) -> Float[np.ndarray, " t"]:
    """How far each point is from the limit, relative to it."""
    missing = self.bound - self.value if self.is_minimum else self.value - self.bound
    return np.maximum(missing, 0) / max(abs(self.bound), 1e-12)

  def shown(self, num_images: int, delta: float) -> Bool[np.ndarray, " t"]:
    """The points that are shown to keep the limit, all at once, with probability 1 - delta."""
    count = len(self.value)
    # Safest first: few offloads for a budget, many for accuracy.
    order = np.arange(count) if self.is_minimum else np.arange(count)[::-1]
    worst = 1.0 if self.worst is None else self.worst
    mean = (1 - self.value if self.is_minimum else self.value) / worst
    limit = (1 - self.bound if self.is_minimum else self.bound) / worst
    _check_images(f"{self.name} {self.bound:g}", limit, num_images, delta)
    if self.worst is None:
      violations = np.rint(mean * num_images).astype(int)
      return fixed_sequence(binomial_p_value(violations, num_images, limit), order, delta)
    return fixed_sequence(bounded_p_value(mean, num_images, limit), order, delta)


def _limits(points: Points, constraints: Constraints) -> list[_Limit]:
  candidates = (
    ("max-offload", points.offload, constraints.max_offload, False, None),
    ("max-energy-mj", points.energy_mj, constraints.max_energy_mj, False, points.worst_energy_mj),
    (
      "max-latency-ms",
      points.latency_ms,
      constraints.max_latency_ms,
      False,
      points.worst_latency_ms,
    ),
    ("min-accuracy", points.accuracy, constraints.min_accuracy, True, None),
  )
  return [
    _Limit(name, value, bound, minimum, worst)
    for name, value, bound, minimum, worst in candidates
    if bound is not None
  ]


def _check_images(name: str, limit: float, num_images: int, delta: float) -> None:
  if limit <= 0:
    raise UserError(f"no number of images can show {name}; accepted: a looser limit")
  needed = images_needed(limit, delta)
  if num_images < needed:
    raise UserError(
      f"the calibration part of the validation split has {num_images} images, too few to show "
      f"{name} with this confidence; accepted: at least {needed}"
    )
