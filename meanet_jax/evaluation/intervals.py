"""95% intervals of figures that are measured on a split."""

import numpy as np
import scipy.stats
from jaxtyping import Float, Int

from meanet_jax.cost.energy import Shares
from meanet_jax.routing.policies import Policy

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


def quantiles(drawn: Float[np.ndarray, " r"]) -> Interval:
  """Of a figure, from draws of what it may be."""
  low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
  return float(low), float(high)


def quantiles_around(figure: float, drawn: Float[np.ndarray, " r"]) -> Interval:
  """The same, with the figure in it: where it is 0, draws may all be above."""
  low, high = quantiles(drawn)
  return min(low, figure), max(high, figure)


def drawn_shares(policy: Policy, shares: Shares, num_images: int) -> Shares:
  """Shares of images that the shares on a split are evidence for; arrays [r].

  Costs are made of these shares alone. They are drawn from their distribution given the images,
  under Jeffreys' prior: a Dirichlet one, with half an image more of every kind that the policy can
  lead to. So what no image of the split did has a share as well, which resampled images never have.

  Args:
    policy: by which images are sent, and run the extension.
    shares: of one operating point.
    num_images: of the split.
  """
  both = shares.extension_and_sent
  sends, keeps = policy.offload != "never", policy.offload != "always"
  runs = policy.hard_rule != "never" and keeps
  kinds = {
    "kept": (keeps, 1 - shares.extension - shares.sent + both),
    "extended": (runs, shares.extension - both),
    "sent": (sends, shares.sent - both),
    "extended_and_sent": (runs and policy.offload == "late", both),
  }
  possible = [name for name, (can_be, _) in kinds.items() if can_be]
  weights = [num_images * float(kinds[name][1]) + 0.5 for name in possible]
  drawn = dict.fromkeys(kinds, np.zeros(RESAMPLES))
  rows = np.random.default_rng(0).dirichlet(weights, RESAMPLES).T
  drawn |= dict(zip(possible, rows, strict=True))
  return Shares(
    main=shares.main,
    extension=drawn["extended"] + drawn["extended_and_sent"],
    sent=drawn["sent"] + drawn["extended_and_sent"],
    extension_and_sent=drawn["extended_and_sent"],
  )


def balanced_interval(correct: Int[np.ndarray, " c"], images: Int[np.ndarray, " c"]) -> Interval:
  """Of a balanced accuracy: the images of every class drawn anew, as a bootstrap does.

  They are drawn with recalls that count one image more, half of it right: where all or none of a
  class are right, draws from the images themselves would never differ. What that moves is taken
  from the draws again.

  Args:
    correct: right answers of each class's images.
    images: how many each class has; classes without any are left out.
  """
  correct, images = correct[images > 0], images[images > 0]
  recall = (correct + 0.5) / (images + 1)
  drawn = np.random.default_rng(0).binomial(images, recall, (RESAMPLES, len(images)))
  figure, noise = float((correct / images).mean()), (drawn / images - recall).mean(axis=1)
  return quantiles_around(figure, np.clip(figure + noise, 0, 1))


def worst_interval(correct: Int[np.ndarray, " c"], images: Int[np.ndarray, " c"]) -> Interval:
  """Of the lowest recall of any class: exact intervals of all of them at once (Bonferroni).

  Args:
    correct, images: as in `balanced_interval`.
  """
  known = np.flatnonzero(images > 0)
  level = 1 - (1 - LEVEL) / len(known)
  ends = [exact_interval(int(correct[k]), int(images[k]), level) for k in known]
  return min(low for low, _ in ends), min(high for _, high in ends)
