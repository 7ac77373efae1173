"""Agreement monitoring: a share of the images that the edge keeps is sent too, and compared.

Without labels, agreement with the cloud is what can be known of the edge's answers. Which images
are monitored follows from a seed and their numbers alone, so they are a random sample that the
stream cannot influence, and a run that is repeated monitors the same ones.

The interval is Clopper and Pearson's (1934, Biometrika 26), exact for images of one distribution at
one time that was fixed beforehand. Looked at again and again, it excludes the truth at some time or
other more often than its confidence says; choose the floor and the confidence for the alarms that
can be borne.
"""

import hashlib
import math
from typing import NamedTuple

import numpy as np

from meanet_jax.errors import UserError

_BISECTIONS = 60  # leave an interval of 2^-60, below a double's resolution near 1


class AgreementMonitor(NamedTuple):
  """share: of confident images. floor: of agreement; an alarm is raised when the interval lies
  below. window: newest monitored images that count; at a share of 2% a hundred are 5,000 images or
  more, after which an alarm has forgotten better days. confidence: of the interval.
  """

  share: float
  floor: float = 0.9
  window: int = 100
  confidence: float = 0.95


class Agreements(NamedTuple):
  """The state: whether the newest monitored images' answers were the cloud's, oldest first."""

  agreed: tuple[bool, ...] = ()


class Agreement(NamedTuple):
  """The share of agreeing answers among `num_images`, within [lower, upper]; NaN for no image."""

  num_images: int
  share: float
  lower: float
  upper: float
  alarm: bool


def check_monitor(monitor: AgreementMonitor) -> None:
  """Refuses numbers out of range.

  Raises:
    UserError: naming the field.
  """
  for name, value in (("agreement share", monitor.share), ("agreement floor", monitor.floor)):
    if not 0 <= value <= 1:
      raise UserError(f"{name} is {value:g}; accepted: a share from 0 to 1")
  if not 0 < monitor.confidence < 1:
    raise UserError(f"agreement confidence is {monitor.confidence:g}; accepted: between 0 and 1")
  if monitor.window < 1:
    raise UserError(f"agreement window is {monitor.window}; accepted: at least 1 image")


def is_monitored(monitor: AgreementMonitor, seed: int, number: int) -> bool:
  """Whether an image is monitored, if the edge is confident about it.

  Args:
    monitor: the share.
    seed: of the run.
    number: of the image in its stream.
  """
  digest = hashlib.sha256(f"{seed} {number}".encode()).digest()
  return int.from_bytes(digest[:8], "big") < monitor.share * 2**64


def record(monitor: AgreementMonitor, state: Agreements, agrees: bool) -> Agreements:
  """The state after a monitored image that the cloud answered."""
  return Agreements((*state.agreed, bool(agrees))[-monitor.window :])


def agreement(monitor: AgreementMonitor, state: Agreements) -> Agreement:
  """Rolling agreement with the cloud, and whether it is below the floor for certain."""
  count, agreed = len(state.agreed), sum(state.agreed)
  if not count:
    return Agreement(0, math.nan, math.nan, math.nan, False)
  lower, upper = clopper_pearson(agreed, count, monitor.confidence)
  return Agreement(count, agreed / count, lower, upper, upper < monitor.floor)


def clopper_pearson(successes: int, trials: int, confidence: float) -> tuple[float, float]:
  """The exact interval of a binomial probability, each end excluded with (1 - confidence) / 2.

  A device has no SciPy: the ends are found by bisection on the binomial tails.
  """
  tail = (1 - confidence) / 2
  # P(X >= successes) grows with the probability, P(X <= successes) falls.
  lower = 0.0 if successes == 0 else _solve(successes, trials, trials, tail, growing=True)
  upper = 1.0 if successes == trials else _solve(0, successes, trials, tail, growing=False)
  return lower, upper


def _solve(first: int, last: int, trials: int, tail: float, growing: bool) -> float:
  """The p at which P(first <= Binomial(trials, p) <= last) is `tail`."""
  k = np.arange(first, last + 1)
  choose = np.array(
    [math.lgamma(trials + 1) - math.lgamma(i + 1) - math.lgamma(trials - i + 1) for i in k.tolist()]
  )
  low, high = 0.0, 1.0
  for _ in range(_BISECTIONS):
    p = (low + high) / 2
    mass = np.exp(choose + k * math.log(p) + (trials - k) * math.log1p(-p)).sum()
    if (mass < tail) == growing:
      low = p
    else:
      high = p
  return (low + high) / 2
