"""Staying within a budget while images change: the threshold adapts online, without labels.

Quantile tracking (Angelopoulos, Candes, Tibshirani 2023, "Conformal PID control for time series
prediction", arXiv 2307.16895, section 2; the fixed-step update is that of adaptive conformal
inference, Gibbs and Candes 2021, arXiv 2106.00170, and of Robbins and Monro 1951). After each image
the normalised threshold (`normalised_threshold.py`) rises where the image cost more than the target
and falls where it cost less:

    threshold <- threshold + step x (cost - target) / largest

There the tracked quantile is of scores and the error is 0 or 1; here the error is any cost, so that
the same rule keeps a share of images sent, a mean of bytes as they were really sent, or a mean of
energy. The threshold is the integral of the error, so the long-run mean has no offset to forget.

What holds for every sequence of images, whatever its distribution and however it changes:
thresholds lie in [-step x target / largest, NOTHING_SENT + step x (1 - target / largest)], because
above `NOTHING_SENT` nothing is sent and below 0 everything is. The sum of (cost - target) over any
T consecutive images is at most the change of the threshold over (step / largest), and so the mean
over them exceeds the target by at most

    (NOTHING_SENT + step) x largest / (step x T)

This asks that no image costs more than `largest`, and that one that is not sent costs no more than
the target. If moreover one that is sent costs at least the target, the mean falls short by at most
as much. Otherwise the threshold stops at its lowest: what was not spent is not saved for later,
though what was overspent is never forgotten.

A large step holds the budget tightly and jumps over images that were worth sending;
benchmarks/online_budget.md measures both. The default is the smallest step measured there that
keeps a share of 10% within 2% of itself over every 2,000 images.
"""

from typing import Any, NamedTuple

from meanet_jax.errors import UserError
from meanet_jax.routing.normalised_threshold import NOTHING_SENT

STEP = 0.2

Number = Any  # of Python or NumPy


class Budget(NamedTuple):
  """What an image may cost in the mean.

  target: cost per image, of all images, sent or not. largest: the most that one image costs. Both
  in one unit: images sent (largest is 1), bytes, millijoules. step: threshold per `largest`
  overspent.
  """

  target: float
  largest: float = 1.0
  step: float = STEP


class Spending(NamedTuple):
  """The state. threshold: normalised, for the next image. num_images, total: so far, and what
  they cost.
  """

  threshold: float
  num_images: int = 0
  total: float = 0.0


def check_budget(name: str, budget: Budget, least: float = 0.0) -> None:
  """Refuses a budget that no threshold can keep.

  Args:
    name: of the flag.
    budget: as given.
    least: the most that an image costs which is not sent: what the edge computes, and what
      is sent to monitor agreement.

  Raises:
    UserError: a target that is not above `least`, or no finite number.
  """
  if not least < budget.target < float("inf"):
    beside = f", which an image costs that is not sent ({least:g})" if least else ""
    raise UserError(f"{name} is {budget.target:g}; accepted: a number above {least:g}{beside}")


def start(budget: Budget, threshold: Number) -> Spending:
  """The state before the first image.

  Args:
    budget: to be kept.
    threshold: normalised, of the first image; at most `NOTHING_SENT` counts, and not much below 0.
  """
  return Spending(_within(budget, min(float(threshold), NOTHING_SENT)))


def spend(budget: Budget, state: Spending, cost: Number) -> Spending:
  """The state after an image.

  Call it for every image whose sending the threshold decided. While nothing can be sent - no cloud,
  an open circuit breaker - leave the state as it is, or the threshold falls and a burst follows.

  Args:
    budget: to be kept.
    state: before the image.
    cost: of the image, in the budget's unit: what was really sent, answered or not.
  """
  threshold = state.threshold + budget.step * (float(cost) - budget.target) / budget.largest
  return Spending(_within(budget, threshold), state.num_images + 1, state.total + float(cost))


def correct(budget: Budget, state: Spending, difference: float) -> Spending:
  """The state when an image that was spent for turns out to have cost so much more (or less).

  For costs that are known late, as bytes are that had to be sent twice: spend what is expected when
  the image is sent, so that the next images know of it, and correct it when the answer is there.
  """
  threshold = state.threshold + budget.step * difference / budget.largest
  return Spending(_within(budget, threshold), state.num_images, state.total + difference)


def strictest(*states: Spending) -> float:
  """The threshold that keeps several budgets: the largest. The bound holds for each of them."""
  return max(state.threshold for state in states)


def guaranteed_excess(budget: Budget, num_images: int) -> float:
  """By how much the mean cost of any so many consecutive images can exceed the target at most."""
  return (NOTHING_SENT + budget.step) * budget.largest / (budget.step * num_images)


def _within(budget: Budget, threshold: float) -> float:
  return max(threshold, -budget.step * budget.target / budget.largest)
