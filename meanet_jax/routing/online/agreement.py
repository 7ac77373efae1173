"""Auditing the edge: a share of the images that it is sure of is sent as well, and compared.

Without labels, agreement with the cloud is what can be known of the edge's answers. Which images
are audited follows from a seed and their numbers alone, so they are a random sample that the
stream cannot influence, and a run that is repeated audits the same ones.

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


class Audit(NamedTuple):
  """share: of confident images. floor: of agreement; an alarm is raised when the interval lies
  below. window: newest audited images that count; at a share of 2% a hundred are 5,000 images or
  more, after which an alarm has forgotten better days. confidence: of the interval.
  """

  share: float
  floor: float = 0.9
  window: int = 100
  confidence: float = 0.95


class Audited(NamedTuple):
  """The state: whether the newest audited images' answers were the cloud's, oldest first."""

  agreed: tuple[bool, ...] = ()


class Agreement(NamedTuple):
  """The share of agreeing answers among `num_images`, within [lower, upper]; NaN for no image."""

  num_images: int
  share: float
  lower: float
  upper: float
  alarm: bool


def check_audit(audit: Audit) -> None:
  """Refuses numbers out of range.

  Raises:
    UserError: naming the field.
  """
  for name, value in (("audit", audit.share), ("audit floor", audit.floor)):
    if not 0 <= value <= 1:
      raise UserError(f"{name} is {value:g}; accepted: a share from 0 to 1")
  if not 0 < audit.confidence < 1:
    raise UserError(f"audit confidence is {audit.confidence:g}; accepted: between 0 and 1")
  if audit.window < 1:
    raise UserError(f"audit window is {audit.window}; accepted: at least 1 image")


def is_audited(audit: Audit, seed: int, number: int) -> bool:
  """Whether an image is audited, if the edge is confident about it.

  Args:
    audit: the share.
    seed: of the run.
    number: of the image in its stream.
  """
  digest = hashlib.sha256(f"{seed} {number}".encode()).digest()
  return int.from_bytes(digest[:8], "big") < audit.share * 2**64


def record(audit: Audit, state: Audited, agrees: bool) -> Audited:
  """The state after an audited image that the cloud answered."""
  return Audited((*state.agreed, bool(agrees))[-audit.window :])


def agreement(audit: Audit, state: Audited) -> Agreement:
  """Rolling agreement with the cloud, and whether it is below the floor for certain."""
  count, agreed = len(state.agreed), sum(state.agreed)
  if not count:
    return Agreement(0, math.nan, math.nan, math.nan, False)
  lower, upper = clopper_pearson(agreed, count, audit.confidence)
  return Agreement(count, agreed / count, lower, upper, upper < audit.floor)


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
