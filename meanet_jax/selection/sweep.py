"""Every operating point of a policy over a grid of thresholds, counted in one compiled call."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from meanet_jax.routing.counts import Counts, count
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.normalised_threshold import NOTHING_SENT, thresholds_at
from meanet_jax.routing.policies import Policy, Thresholds
from meanet_jax.routing.rules import Records, route


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
    thresholds: arrays [t], one operating point per entry; scalars hold for all.
    records: n images.
    is_hard: [c].
    chunk: operating points evaluated at once; bounds memory to chunk x n elements. On CPU few are
      faster, because they stay in the cache (benchmarks/sweep.py).
  """
  return jax.lax.map(
    lambda point: count(route(policy, Thresholds(*point), records, is_hard), records, is_hard),
    tuple(jnp.broadcast_to(values, thresholds.main.shape) for values in thresholds),
    batch_size=chunk,
  )


def threshold_grid(
  policy: Policy, hard_classes: HardClasses, fixed: Thresholds, points: int
) -> Thresholds:
  """Evenly spaced thresholds from 0 to the uncertainty of a uniform answer, at each exit.

  Main's and the extension's thresholds move together, each over its own range, so that one number
  orders the operating points. The last point offloads nothing, despite rounding.

  Args:
    policy, hard_classes: give each exit's largest uncertainty.
    fixed: the `hard` and `run` thresholds of every point.
    points: entries of every array.
  """
  share: Float[np.ndarray, " t"] = np.linspace(0, NOTHING_SENT, points)
  return thresholds_at(share, policy, hard_classes, fixed)
