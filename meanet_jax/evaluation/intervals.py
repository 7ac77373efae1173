"""95% intervals of figures that are measured on a split."""

import jax
import numpy as np
import scipy.stats
from jaxtyping import Float, Int

from meanet_jax.routing.counts import Counts, count
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.rules import Records, Route

LEVEL = 0.95
RESAMPLES = 2000
Interval = tuple[float, float]


def exact_interval(successes: int, num_images: int, level: float = LEVEL) -> Interval:
  """Of a share of images: the exact binomial one (Clopper and Pearson 1934)."""
  low, high = exact_band(np.array([successes]), num_images, level)
  return float(low[0]), float(high[0])


def exact_band(
  successes: Int[np.ndarray, " t"], num_images: int, level: float = LEVEL
) -> tuple[Float[np.ndarray, " t"], Float[np.ndarray, " t"]]:
  """Lower and upper ends of many shares of the same images, each by itself."""
  tail, failures = (1 - level) / 2, num_images - successes
  with np.errstate(invalid="ignore"):
    low = scipy.stats.beta.ppf(tail, successes, failures + 1)
    high = scipy.stats.beta.ppf(1 - tail, successes + 1, failures)
  return np.where(successes > 0, low, 0.0), np.where(failures > 0, high, 1.0)


def bootstrap_interval(figures: Float[np.ndarray, " r"]) -> Interval:
  """Of a figure, from its values on resampled splits: their quantiles (Efron 1979)."""
  low, high = np.quantile(figures, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
  return float(low), float(high)


def resampled_counts(taken: Route, records: Records, hard_classes: HardClasses) -> Counts:
  """What would come of splits drawn from the images with replacement; arrays [r] of floats.

  Images of one exit that ran the same blocks cost the same, so it is the numbers of each kind that
  are drawn. Answers are not: `correct` and `hard_correct` mean nothing here.

  Args:
    taken: where the images ended.
    records: of the images, at least one.
    hard_classes: of their classes.
  """
  kinds = np.asarray(taken.exit) * 2 + np.asarray(taken.ran_extension)
  _, first, sizes = np.unique(kinds, return_index=True, return_counts=True)
  ones = []
  for image in first:
    alone = jax.tree.map(lambda values, i=image: values[i : i + 1], (taken, records))
    ones.append(count(*alone, hard_classes.mask))
  drawn = np.random.default_rng(0).multinomial(sizes.sum(), sizes / sizes.sum(), RESAMPLES)
  return Counts(*(drawn @ np.array(of_kinds, float) for of_kinds in zip(*ones, strict=True)))


def balanced_interval(correct: Int[np.ndarray, " c"], images: Int[np.ndarray, " c"]) -> Interval:
  """Of a balanced accuracy: the images of every class drawn with replacement.

  Args:
    correct: right answers of each class's images.
    images: how many each class has; classes without any are left out.
  """
  correct, images = correct[images > 0], images[images > 0]
  drawn = np.random.default_rng(0).binomial(images, correct / images, (RESAMPLES, len(images)))
  return bootstrap_interval((drawn / images).mean(axis=1))


def worst_interval(correct: Int[np.ndarray, " c"], images: Int[np.ndarray, " c"]) -> Interval:
  """Of the lowest recall of any class: exact intervals of all of them at once (Bonferroni).

  Args:
    correct, images: as in `balanced_interval`.
  """
  known = np.flatnonzero(images > 0)
  level = 1 - (1 - LEVEL) / len(known)
  ends = [exact_interval(int(correct[k]), int(images[k]), level) for k in known]
  return min(low for low, _ in ends), min(high for _, high in ends)
