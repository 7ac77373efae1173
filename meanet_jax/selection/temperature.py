"""How far an exit's probabilities can be believed, and how well they foretell its errors."""

import numpy as np
import scipy.optimize
import scipy.special
import scipy.stats
from jaxtyping import Bool, Float, Int

BINS = 15  # of confidence, of equal width; as many as Guo et al. 2017 have


def fit_temperature(logits: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"]) -> float:
  """The temperature that minimises the negative log-likelihood of logits / temperature.

  Guo et al., "On calibration of modern neural networks", ICML 2017. Searched from 0.01 to 100.

  Args:
    logits: of images that the exit knows.
    labels: 0 .. c - 1.
  """
  rows = np.arange(len(labels))
  wide = logits.astype(np.float64)

  def loss(log_temperature: float) -> float:
    log_p = scipy.special.log_softmax(wide / np.exp(log_temperature), axis=-1)
    return float(-np.mean(log_p[rows, labels]))

  bounds = (np.log(0.01), np.log(100.0))
  found = scipy.optimize.minimize_scalar(loss, bounds=bounds, method="bounded")
  return float(np.exp(found.x))


def bin_numbers(confidence: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
  """Which of the `BINS` each confidence of 0 to 1 is in."""
  return np.minimum((confidence * BINS).astype(int), BINS - 1)


def expected_calibration_error(
  confidence: Float[np.ndarray, " n"], correct: Bool[np.ndarray, " n"]
) -> float:
  """Mean |accuracy - confidence| over `BINS` bins of confidence, weighted by their images."""
  place = bin_numbers(confidence)
  total = np.bincount(place, minlength=BINS)
  gap = np.bincount(place, weights=correct.astype(float) - confidence, minlength=BINS)
  return float(np.abs(gap).sum() / max(total.sum(), 1))


def failure_auroc(unsure: Float[np.ndarray, " n"], wrong: Bool[np.ndarray, " n"]) -> float | None:
  """The probability that a wrong answer is more uncertain than a right one; ties count half.

  None when all answers are right, or all are wrong.
  """
  positive = int(wrong.sum())
  negative = len(wrong) - positive
  if not positive or not negative:
    return None
  # In float64: newer SciPy ranks float32 values in float32.
  ranks = scipy.stats.rankdata(unsure.astype(np.float64))
  return float((ranks[wrong].sum() - positive * (positive + 1) / 2) / (positive * negative))
