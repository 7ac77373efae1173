"""Every operating point of a policy over a grid of thresholds, counted in one compiled call."""

import functools

import jax
import numpy as np
from jaxtyping import Array, Bool, Float

from meanet_jax.config.schema import Criterion
from meanet_jax.routing.counts import Counts, count
from meanet_jax.routing.normalised_threshold import NOTHING_SENT, thresholds_at
from meanet_jax.routing.policies import Policy, Records, Thresholds, route


@functools.partial(jax.jit, static_argnames=("policy", "chunk"))
def sweep(
  policy: Policy,
  thresholds: Thresholds,
  records: Records,
  is_hard: Bool[Array, " c"],
  chunk: int = 8,
) -> Counts:
  """The outcomes at every point of a grid, int32.

  Args:
    policy: the rules.
    thresholds: arrays [t], one operating point per entry.
    records: n images.
    is_hard: [c].
    chunk: operating points evaluated at once; bounds memory to chunk x n elements. On CPU few are
      faster, because they stay in the cache (benchmarks/sweep.py).
  """
  return jax.lax.map(
    lambda point: count(route(policy, Thresholds(*point), records, is_hard), records, is_hard),
    tuple(thresholds),
    batch_size=chunk,
  )


def threshold_grid(
  criterion: Criterion, num_classes: int, num_hard: int, points: int, hard: float
) -> Thresholds:
  """Evenly spaced thresholds from 0 to the uncertainty of a uniform answer, at each exit.

  Main's and the extension's thresholds move together, each over its own range, so that one number
  orders the operating points. The last point offloads nothing, despite rounding.

  Args:
    criterion, num_classes, num_hard: give each exit's largest uncertainty.
    points: entries of every array.
    hard: the `hard` threshold of every point.
  """
  share: Float[np.ndarray, " t"] = np.linspace(0, NOTHING_SENT, points)
  return thresholds_at(share, criterion, num_classes, num_hard, hard)
