"""The paired difference of two systems over seeds and images, with its bootstrap interval."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from meanet_jax.evaluation.intervals import RESAMPLES, quantiles


class Difference(NamedTuple):
  """Accuracy of one system less that of another, and the ends of its 95% interval."""

  mean: float
  low: float
  high: float


def paired_difference(
  ours: Sequence[Bool[np.ndarray, " n"]], others: Sequence[Bool[np.ndarray, " n"]]
) -> Difference:
  """The difference over seeds and test images, both drawn with replacement.

  Args:
    ours, others: which of the same n images each system answers correctly, by seed.
  """
  differences = np.array(ours, float) - np.array(others, float)
  low, high = quantiles(resampled(differences))
  return Difference(float(differences.mean()), low, high)


def resampled(differences: Float[np.ndarray, "s n"]) -> Float[np.ndarray, " r"]:
  """The mean of `RESAMPLES` tables whose rows and columns are drawn independently."""
  rng = np.random.default_rng(0)
  seeds, images = differences.shape
  means = np.empty(RESAMPLES)
  for number in range(RESAMPLES):  # one at a time: all at once would take r x n numbers
    of_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds)) / seeds
    of_images = np.bincount(rng.integers(images, size=images), minlength=images) / images
    means[number] = of_seeds @ differences @ of_images
  return means
