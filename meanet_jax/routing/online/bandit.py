"""Thresholds chosen by confidence minus cost, with an upper-confidence-bound rule.

After SplitEE (Bajpai, Trivedi, Yadav, Hanawal 2023, "SplitEE: Early exit in deep neural networks
with split computing", arXiv 2309.09195) and I-SplitEE (Bajpai, Jaiswal, Hanawal 2024, "I-SplitEE:
Image classification in split computing DNNs with early exits", arXiv 2401.10541). No labels are
needed: an answer is worth its confidence. An image answered at the edge rewards with the edge's
confidence, one that is sent with the cloud's confidence minus the cost of offloading, and the arm
played next is the one of largest

    mean reward + exploration x sqrt(ln(rounds) / times observed)

There the arms are the layers after which the network may be split, under a fixed threshold; a
MEANet is split at one place, so here they are normalised thresholds (`normalised_threshold.py`), as
in UCBEE (Pacheco et al. 2025, IEEE TNSM 22(1)). The cost of the layers computed on the edge, which
SplitEE subtracts for every arm, is then the same for all and left out. Costs and confidences are
compared as they are; whether confidence means accuracy is a question of calibration
(`config.routing.calibrate`).

Side observations, as in SplitEE-S, where playing an arm shows the rewards of all earlier exits: the
arm played sends every image that an arm of a higher threshold sends, so it shows what that one
would have got. It does so for every image, as it must: of an arm of a lower threshold it shows
only the images that both keep, the confident ones, whose rewards would be biased upwards.
"""

from typing import Any, NamedTuple

import numpy as np

from meanet_jax.annotations import Float

Number = Any  # of Python or NumPy


class Bandit(NamedTuple):
  """thresholds: the arms, normalised, increasing. offload_cost: of one image, in units of
  confidence. exploration: SplitEE's beta; sqrt(2) is UCB1 (Auer et al. 2002) for rewards within an
  interval of length 1.
  side_observations: whether the edge's confidence is known for every image, sent or not, which it
  is with `offload` `late` and not with `early`, which skips the extension of what is sent.
  discount: of the past per image; below 1 it forgets (discounted UCB, Garivier and Moulines 2011,
  "On upper-confidence bound policies for switching bandit problems").
  """

  thresholds: tuple[float, ...]
  offload_cost: float
  exploration: float = 1.0
  side_observations: bool = True
  discount: float = 1.0


class Observed(NamedTuple):
  """The state, in (discounted) numbers of images: count, total: [k], how often each arm was
  observed and the sum of its rewards. rounds: images so far.
  """

  count: Float[Any, " k"]
  total: Float[Any, " k"]
  rounds: float = 0.0


def start(bandit: Bandit) -> Observed:
  """The state before the first image."""
  nothing = np.zeros(len(bandit.thresholds))
  return Observed(nothing, nothing)


def choose_arm(bandit: Bandit, state: Observed) -> int:
  """The arm to play: an index into `thresholds`. Unobserved arms come first, the highest first."""
  unseen = np.flatnonzero(state.count == 0)
  if len(unseen):
    return int(unseen[-1])
  bonus = np.sqrt(np.log(max(state.rounds, 1.0)) / state.count)
  return int(np.argmax(state.total / state.count + bandit.exploration * bonus))


def observe(
  bandit: Bandit,
  state: Observed,
  arm: int,
  uncertainty: Number,
  edge_confidence: Number | None,
  cloud_confidence: Number | None,
) -> Observed:
  """The state after an image. Images may be observed in any order, as the cloud's answers come.

  An image that was sent and not answered shows nothing: leave it out.

  Args:
    bandit: the arms.
    state: before.
    arm: that was played.
    uncertainty: the image's, normalised (`normalised_threshold.normalised_uncertainty`).
    edge_confidence: maximum probability of the edge's answer; may be None for an image that was
      sent, without side observations.
    cloud_confidence: of the cloud's; None for an image that was not sent.
  """
  sends = np.full(len(bandit.thresholds), False)
  if cloud_confidence is not None:
    sends = uncertainty > np.asarray(bandit.thresholds)
    sends[arm] = True  # it was sent, however rounding compares the two
  kept = np.nan if edge_confidence is None else edge_confidence
  sent = np.nan if cloud_confidence is None else cloud_confidence - bandit.offload_cost
  arms = np.arange(len(bandit.thresholds))
  shown = arms >= arm if bandit.side_observations else arms == arm
  return Observed(
    bandit.discount * state.count + shown,
    bandit.discount * state.total + np.where(shown, np.where(sends, sent, kept), 0),
    bandit.discount * state.rounds + 1,
  )
