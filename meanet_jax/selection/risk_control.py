"""Thresholds with a guarantee: distribution-free risk control.

"Learn then Test" (Angelopoulos, Bates, Candes, Jordan, Lei 2021, arXiv 2110.01052) with fixed
sequence testing: operating points are tested in an order fixed beforehand, from the one that is
safest for a limit, each at level delta, until the first that the test does not find safe. All those
before it are safe at once with probability 1 - delta over the draw of the calibration images, for
any distribution. Several limits share delta evenly (union bound).

What this asks of the calibration images: they are independent draws from that distribution, and
they selected nothing else of the policy - no hard classes, no temperature, no grid. They are a part
of the validation split of their own, therefore, drawn at random (`data/calibration_part.py`). Of a
validation split that was itself drawn class by class they are not quite independent of the rest;
tests/selection/test_coverage.py measures that the confidence holds there too. The confidence is
that of one system under constraints that were stated beforehand: of many that were tried, the best
one has less.
"""

import math

import numpy as np
import scipy.stats
from jaxtyping import Bool, Float, Int


def binomial_p_value(
  violations: Int[np.ndarray, "*t"], num_images: int | Int[np.ndarray, " c"], limit: float
) -> Float[np.ndarray, "*t"]:
  """P-value of "the rate is above `limit`", exact: P(Binomial(n, limit) <= violations)."""
  if limit >= 1:
    return np.zeros(violations.shape)
  return scipy.stats.binom.cdf(violations, num_images, limit)


def bounded_p_value(
  mean: Float[np.ndarray, " t"], num_images: int, limit: float
) -> Float[np.ndarray, " t"]:
  """P-value of "the expectation is above `limit`" for a loss in [0, 1], from its mean.

  The Hoeffding-Bentkus inequality (Bates et al. 2021, arXiv 2101.02703, section 3.1).
  """
  if limit >= 1:
    return np.zeros_like(mean)
  below = np.clip(np.minimum(mean, limit), 0, 1)
  with np.errstate(divide="ignore", invalid="ignore"):
    divergence = np.where(below > 0, below * np.log(below / limit), 0) + (1 - below) * np.log(
      (1 - below) / (1 - limit)
    )
  hoeffding = np.exp(-num_images * divergence)
  bentkus = math.e * scipy.stats.binom.cdf(np.ceil(num_images * mean), num_images, limit)
  return np.minimum(1, np.minimum(hoeffding, bentkus))


def weighted_p_value(
  mean: Float[np.ndarray, " t"], class_images: Int[np.ndarray, " c"], limit: float
) -> Float[np.ndarray, " t"]:
  """P-value of "the classes' rates are above `limit` in the mean", each class of equal weight.

  Given their classes, images are independent, and one of class k moves the mean by at most
  1 / (C n_k): Hoeffding 1963, theorem 2, exp(-2 (limit - mean)^2 / sum over k of 1 / (C^2 n_k)).

  Args:
    mean: over classes, of each class's share of violations.
    class_images: n_k, above 0.
    limit: below 1.
  """
  if limit >= 1:
    return np.zeros_like(mean)
  spread = float(np.sum(1 / class_images)) / len(class_images) ** 2
  return np.exp(-2 * np.maximum(limit - mean, 0) ** 2 / spread)


def fixed_sequence(
  p_values: Float[np.ndarray, " t"], order: Int[np.ndarray, " t"], delta: float
) -> Bool[np.ndarray, " t"]:
  """The points accepted by testing in `order` and stopping at the first p-value above `delta`."""
  accepted = np.zeros(len(p_values), bool)
  passing = p_values[order] <= delta
  count = len(passing) if passing.all() else int(np.argmin(passing))
  accepted[order[:count]] = True
  return accepted


def images_needed(limit: float, delta: float) -> int:
  """Fewest images with which a rate of at most `limit` can be shown at all, without a violation."""
  if limit <= 0:
    raise ValueError("a rate of 0 cannot be shown with any number of images")
  return 1 if limit >= 1 else math.ceil(math.log(delta) / math.log1p(-limit))


def weighted_images_needed(limit: float, delta: float) -> int:
  """Fewest images, in classes of equal size, for `weighted_p_value` without a violation."""
  if limit <= 0:
    raise ValueError("a rate of 0 cannot be shown with any number of images")
  return 1 if limit >= 1 else math.ceil(-math.log(delta) / (2 * limit**2))
