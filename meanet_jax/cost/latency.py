"""The 0.95 quantile of latency over images that take different routes.

A route is a set of blocks. Times of different blocks are taken as independent, and each as a
shifted exponential, a + s E with E standard exponential, which has the block's mean and 0.95
quantile: s = (p95 - mean) / (ln 20 - 1), a = mean - s. With p95 = mean it is one number. Beyond
what such a time can have (p95 below the mean, or above 3.0 times the mean) p95 alone is kept.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from meanet_jax.cost.device import Timing

# One operating point, or an array of them.
Number = Any

QUANTILE = 0.95
# Steps of which the fractional parts fill the unit cube evenly (a Kronecker sequence): one for each
# block of a route beyond the first, whose own points are evenly spaced.
_STEPS = (math.sqrt(2), math.sqrt(3), math.sqrt(5))
_POINTS = 4096
# Rounding of the weights is not to move the quantile to the next value.
_SLACK = 1e-9


def route_points(blocks: Sequence[Timing]) -> np.ndarray:
  """Times of a route in ms, equally likely, sorted: float64 [m]; m is 1 if none varies."""
  scales = [_exponential(block) for block in blocks]
  fixed = sum(shift for shift, _ in scales)
  varying = [scale for _, scale in scales if scale > 0]
  if not varying:
    return np.full(1, float(fixed))
  index = np.arange(_POINTS)
  uniforms = [(index + 0.5) / _POINTS, *((0.5 + index * step) % 1 for step in _STEPS)]
  total = fixed - sum(scale * np.log1p(-u) for scale, u in zip(varying, uniforms, strict=False))
  return np.sort(total)


def mixture_quantile(weights: Sequence[Number], routes: Sequence[np.ndarray]) -> Number:
  """The smallest time that at least 0.95 of the images keep.

  Args:
    weights: of the routes, numbers or arrays [t], at least 0; they sum to 1.
    routes: of each the points of `route_points`.

  Returns:
    A number, or an array [t].
  """
  # [..., r]
  shares = np.clip(np.stack(np.broadcast_arrays(*weights), axis=-1).astype(float), 0, None)
  values = np.unique(np.concatenate(routes))
  below = np.stack([np.searchsorted(r, values, side="right") / len(r) for r in routes], axis=-1)
  wanted = QUANTILE * shares.sum(-1) - _SLACK
  # Bisection over `values`, of all operating points at once.
  low = np.zeros(shares.shape[:-1], int)
  high = np.full(shares.shape[:-1], len(values) - 1)
  for _ in range(len(values).bit_length()):
    middle = (low + high) // 2
    enough = (shares * below[middle]).sum(-1) >= wanted
    low, high = np.where(enough, low, np.minimum(middle + 1, high)), np.where(enough, middle, high)
  return values[high]


def _exponential(block: Timing) -> tuple[float, float]:
  """Shift and scale of a block's time."""
  tail = -math.log(1 - QUANTILE)
  scale = (block.p95_ms - block.mean_ms) / (tail - 1)
  if scale <= 0:
    return block.p95_ms, 0.0
  if scale > block.mean_ms:
    return 0.0, block.p95_ms / tail
  return block.mean_ms - scale, scale
