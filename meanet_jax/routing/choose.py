"""Choosing an operating point on validation counts."""

import numpy as np

from meanet_jax.routing.sweep import Counts


def choose(counts: Counts, num_images: int, max_offload: float) -> int:
  """The index of the operating point that offloads most without exceeding a share of the images.

  It spends the whole budget, as budgeted evaluations do (MSDNet, Huang et al. 2018): which share
  a threshold offloads is known from few images, which of two thresholds is more accurate is not.
  Ties go to the later point.

  Args:
    counts: int [t], on the validation split.
    num_images: n of that split.
    max_offload: in [0, 1]. The last point of `threshold_grid` offloads nothing, so one is allowed.
  """
  cloud = np.asarray(counts.cloud)
  within = np.where(cloud <= max_offload * num_images, cloud, -1)
  return int(np.flatnonzero(within == within.max())[-1])
