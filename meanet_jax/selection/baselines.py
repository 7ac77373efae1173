"""What a MEANet is compared with.

Four baselines are policies. `random_counts` and `oracle_route` are of systems that decide about the
cloud by something else than uncertainty - draws, labels - so they are measured on records and run
on no device.
"""

import dataclasses
from typing import Any

from jaxtyping import Bool

from meanet_jax.routing.counts import Counts, count
from meanet_jax.routing.policies import Policy, Thresholds
from meanet_jax.routing.rules import CLOUD, Records, Route, cloud_prediction, edge_route

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


def random_counts(
  meanet: Policy,
  rate: float,
  records: Records,
  is_hard: Bool[Array, " c"],
  fixed: Thresholds,
) -> Counts:
  """What a MEANet comes to that sends images at random: the mean of `count` over all draws, floats.

  A count is a sum over images, and the draw of one image bears on its own term alone: so the mean
  lies at `rate` between the counts of sending nothing and of sending everything.

  Args:
    meanet: whose edge answers what is not sent, and whose `offload` says whether an image that is
      sent has run its extension before (`late`) or not (`early`).
    rate: the share that is sent.
    records: n images.
    is_hard: [c].
    fixed: the `hard` and `run` thresholds.
  """
  xp = records.label.__array_namespace__()
  none, every = (
    count(send(sent, meanet, records, is_hard, fixed), records, is_hard)
    for sent in (xp.zeros_like(records.label, dtype=bool), xp.ones_like(records.label, bool))
  )
  return Counts(*((1 - rate) * n + rate * e for n, e in zip(none, every, strict=True)))


def oracle_route(
  meanet: Policy, records: Records, is_hard: Bool[Array, " c"], fixed: Thresholds
) -> Route:
  """Sends exactly the images that a MEANet's edge gets wrong and the cloud right.

  It needs the labels, and the edge's own answer first, so every hard image runs its extension. No
  offload rule of the same edge and cloud is more accurate, and none as accurate sends less.
  """
  edge = edge_route(meanet, fixed, records, is_hard)
  after_edge = dataclasses.replace(meanet, offload="late")
  answered = cloud_prediction(after_edge, records, edge.ran_extension)
  sent = (edge.prediction != records.label) & (answered == records.label)
  return send(sent, after_edge, records, is_hard, fixed)


def send(
  sent: Bool[Array, " n"],
  meanet: Policy,
  records: Records,
  is_hard: Bool[Array, " c"],
  fixed: Thresholds,
) -> Route:
  """The route of every image, with those in `sent` ended in the cloud."""
  xp = records.label.__array_namespace__()
  edge = edge_route(meanet, fixed, records, is_hard)
  saves_extension = meanet.offload == "early"
  ran_extension = edge.ran_extension & ~sent if saves_extension else edge.ran_extension
  return Route(
    exit=xp.where(sent, xp.int32(CLOUD), edge.exit),
    prediction=xp.where(sent, cloud_prediction(meanet, records, ran_extension), edge.prediction),
    ran_extension=ran_extension,
  )
