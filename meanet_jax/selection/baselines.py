"""What a MEANet is compared with.

Four baselines are policies. `Random` and `Oracle` decide about the cloud by something else than
uncertainty - draws, labels - so they are measured on records and run on no device.
"""

import dataclasses
from typing import Any

from jaxtyping import Bool, Float

from meanet_jax.routing.counts import Counts, count
from meanet_jax.routing.policies import Policy, Thresholds
from meanet_jax.routing.rules import CLOUD, Records, Route, cloud_prediction, route

Array = Any  # a NumPy or JAX array

MAIN_ONLY = Policy(hard_rule="never", offload="never")
CLOUD_ONLY = Policy(hard_rule="never", offload="always")
# With a plain network in main's place: the rule that is best for a MEANet's edge as well.
STATIC_CLOUD = Policy(hard_rule="never", offload="late", criterion="max_prob")


def edge_only(meanet: Policy) -> Policy:
  """A MEANet's edge, which sends nothing."""
  return dataclasses.replace(meanet, offload="never")


def main_cloud(meanet: Policy) -> Policy:
  """The two-exit system: a MEANet without its extension, under the same criterion.

  Of `learned`, whose regression is of another edge, under the largest probability.
  """
  return Policy(hard_rule="never", offload="early", criterion=meanet.run_criterion)


def policy_baselines(meanet: Policy) -> dict[str, Policy]:
  """The baselines that are policies, by name."""
  return {
    "main_only": MAIN_ONLY,
    "edge_only": edge_only(meanet),
    "cloud_only": CLOUD_ONLY,
    "main_cloud": main_cloud(meanet),
  }


@dataclasses.dataclass(frozen=True)
class Random:
  """A MEANet that sends images at random, at a given rate.

  meanet: whose edge answers what is not sent, and whose `offload` says whether an image that
  is sent has run its extension before (`late`) or not (`early`). rate: the share that is sent.
  """

  meanet: Policy
  rate: float

  def route(
    self,
    draws: Float[Array, " n"],
    records: Records,
    is_hard: Bool[Array, " c"],
    fixed: Thresholds,
  ) -> Route:
    """Sends the images whose draw, uniform on [0, 1), is below the rate."""
    return _send(draws < self.rate, self.meanet, records, is_hard, fixed)

  def expected_counts(
    self, records: Records, is_hard: Bool[Array, " c"], fixed: Thresholds
  ) -> Counts:
    """The mean of `count` over all draws, as floats.

    A count is a sum over images, and the draw of one image bears on its own term alone: so the mean
    lies at `rate` between the counts of sending nothing and of sending everything.
    """
    xp = records.label.__array_namespace__()
    none, every = (
      count(_send(sent, self.meanet, records, is_hard, fixed), records, is_hard)
      for sent in (xp.zeros_like(records.label, dtype=bool), xp.ones_like(records.label, bool))
    )
    return Counts(*((1 - self.rate) * n + self.rate * e for n, e in zip(none, every, strict=True)))


@dataclasses.dataclass(frozen=True)
class Oracle:
  """Sends exactly the images that a MEANet's edge gets wrong and the cloud right.

  It needs the labels, and the edge's own answer first, so every hard image runs its extension. No
  offload rule of the same edge and cloud is more accurate, and none as accurate sends less.
  """

  meanet: Policy

  def route(self, records: Records, is_hard: Bool[Array, " c"], fixed: Thresholds) -> Route:
    """Every image's end, from its label."""
    edge = _stay(self.meanet, records, is_hard, fixed)
    after_edge = dataclasses.replace(self.meanet, offload="late")
    answered = cloud_prediction(after_edge, records, edge.ran_extension)
    sent = (edge.prediction != records.label) & (answered == records.label)
    return _send(sent, after_edge, records, is_hard, fixed)


def _stay(meanet: Policy, records: Records, is_hard: Bool[Array, " c"], fixed: Thresholds) -> Route:
  return route(edge_only(meanet), fixed, records, is_hard)


def _send(
  sent: Bool[Array, " n"],
  meanet: Policy,
  records: Records,
  is_hard: Bool[Array, " c"],
  fixed: Thresholds,
) -> Route:
  """The route of every image, with those in `sent` ended in the cloud."""
  xp = records.label.__array_namespace__()
  edge = _stay(meanet, records, is_hard, fixed)
  saves_extension = meanet.offload == "early"
  ran_extension = edge.ran_extension & ~sent if saves_extension else edge.ran_extension
  return Route(
    exit=xp.where(sent, xp.int32(CLOUD), edge.exit),
    prediction=xp.where(sent, cloud_prediction(meanet, records, ran_extension), edge.prediction),
    ran_extension=ran_extension,
  )
