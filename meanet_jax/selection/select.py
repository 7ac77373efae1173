"""The selection of an operating point on validation under stated constraints."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from meanet_jax.config.constraints import Constraints, check_constraints
from meanet_jax.errors import UserError
from meanet_jax.selection.alternatives import ROUNDING, cheapest, standard_error
from meanet_jax.selection.limits import Limit, Points, excess, flag_name, limits_of


class Selection(NamedTuple):
  """The selected point, and what it is near to.

  point: the selected one, or the nearest if none keeps the limits; unmet then says why. highest:
  the most accurate of those that keep them (of equals the cheapest), else `point`.
  standard_error: of the accuracy of `highest`.
  """

  point: int
  unmet: str | None
  highest: int
  standard_error: float


def select(points: Points, num_images: int, constraints: Constraints) -> Selection:
  """The operating point under constraints.

  Among the points that keep every limit: with a penalty, the one of largest accuracy - penalty x
  offloads; else with `min_accuracy` the cheapest; else with `spend_budget` the one that offloads
  most, as budgeted evaluations do (MSDNet, Huang et al. 2018); else the cheapest of those whose
  accuracy is within one standard error of the highest (`alternatives`). The cheapest is the one
  that offloads least, then the one of least energy.

  A confidence holds for all points that are shown to keep the limits at once, so it holds for
  whichever of them is taken.

  Args:
    points: on validation images; with a confidence, on such that chose nothing else.
    num_images: of those.
    constraints: at least one limit or a penalty; with a confidence, at least one limit.

  Raises:
    UserError: no constraint, a confidence in no limit, constraints that contradict each other, or
      too few images for the confidence.
  """
  check_constraints(constraints)
  limits = limits_of(points, constraints)
  if not limits and constraints.offload_penalty is None:
    raise UserError(
      "no constraint was given; expected an offload penalty, or a limit on offload, bytes, energy, "
      "latency, accuracy or the recall of classes"
    )
  if not limits and constraints.confidence is not None:
    raise UserError(
      f"confidence {constraints.confidence:g} was asked with an offload penalty alone, which "
      "bounds nothing; expected a limit on offload, bytes, energy, latency, accuracy or the recall "
      "of classes"
    )
  delta = (
    None if constraints.confidence is None else (1 - constraints.confidence) / max(len(limits), 1)
  )
  keeping = [limit.kept() if delta is None else limit.shown(num_images, delta) for limit in limits]
  kept = np.logical_and.reduce([np.ones(len(points.accuracy), bool), *keeping])
  if not kept.any():
    nearest = _nearest(points, num_images, constraints)
    unmet = _unmet(limits, keeping, nearest, constraints.confidence)
    return Selection(nearest, unmet, nearest, _error(points, nearest, num_images))
  top = points.accuracy[kept].max() - ROUNDING
  highest = cheapest(kept & (points.accuracy >= top), points.offload, points.energy_mj)
  error = _error(points, highest, num_images)
  point = _among(kept, points, constraints, points.accuracy[highest] - error - ROUNDING)
  return Selection(point, None, highest, error)


def _nearest(points: Points, num_images: int, constraints: Constraints) -> int:
  """The point nearest to the limits: the one least beyond them.

  With a confidence many may keep them on these images without being shown to: of these the one
  nearest to that, by the largest p-value of its limits.
  """
  beyond = excess(points, constraints)
  if constraints.confidence is None:
    return int(np.argmin(beyond))
  p_values = [limit.evidence.p_values(num_images) for limit in limits_of(points, constraints)]
  return int(np.lexsort((np.max(p_values, axis=0), beyond))[0])


def _among(
  kept: Bool[np.ndarray, " t"], points: Points, constraints: Constraints, enough: float
) -> int:
  """The point to take of those that keep every limit; `enough`: accuracy within noise."""
  if constraints.offload_penalty is not None:
    score = points.accuracy - constraints.offload_penalty * points.offload
  elif constraints.spend_budget:
    score = points.offload
  else:
    as_accurate = kept & (points.accuracy >= enough)
    among = kept if constraints.min_accuracy is not None else as_accurate
    return cheapest(among, points.offload, points.energy_mj)
  best = np.where(kept, score, -np.inf)
  return int(np.flatnonzero(best == best.max())[-1])


def _error(points: Points, point: int, num_images: int) -> float:
  return standard_error(float(points.accuracy[point]), num_images)


def _unmet(
  limits: Sequence[Limit],
  keeping: Sequence[Bool[np.ndarray, " t"]],
  nearest: int,
  confidence: float | None,
) -> str:
  """Why no point keeps all limits, which of them no point keeps or which exclude each other."""
  names = " and ".join(limit.asked() for limit in limits)
  sure = "" if confidence is None else f" with confidence {confidence:g}"
  at = figures_at(limits, nearest)
  if len(keeping[0]) == 1:
    return f"it does not keep {names}{sure}; it has {at}"
  text = f"no threshold keeps {names}{sure}; the nearest has {at}"
  if len(limits) == 1:
    return text
  alone = [limit.asked() for limit, kept in zip(limits, keeping, strict=True) if not kept.any()]
  if alone:
    return f"{text}; none keeps {' or '.join(alone)} alone"
  pairs = [
    (limits[i].asked(), limits[j].asked())
    for i in range(len(limits))
    for j in range(i)
    if not (keeping[i] & keeping[j]).any()
  ]
  exclude = f"{' and '.join(reversed(pairs[0]))} exclude each other" if pairs else "not all at once"
  return f"{text}; each is kept alone, {exclude}"


def figures_at(limits: Sequence[Limit], point: int) -> str:
  """What a point has of every figure that is limited, as `max-offload 0.12, ...`."""
  return ", ".join(f"{flag_name(limit.name)} {limit.value[point]:.4g}" for limit in limits)
