"""The family of policies that `routing.policy` `auto` selects from, and which of it is best."""

from collections.abc import Sequence
from typing import NamedTuple

from meanet_jax.config.constraints import Constraints
from meanet_jax.routing.policies import PRESETS, Policy
from meanet_jax.selection.learned import FEWEST_IMAGES


class Member(NamedTuple):
  """A policy of the family; calibrated: whether logits are divided by fitted temperatures first."""

  name: str
  policy: Policy
  calibrated: bool = True


# Fixed in advance: to add members after a look at a test split would be a selection on it. Those
# that fuse the cloud's answer need a cloud that answers with logits, as `meanet cloud` does.
FAMILY = (
  Member("paper", PRESETS["paper"], calibrated=False),
  Member("paper_imagenet", PRESETS["paper_imagenet"], calibrated=False),
  Member("abstract_entropy", Policy("probability", "extension", "late", "entropy")),
  Member("abstract_max_prob", Policy("probability", "extension", "late", "max_prob")),
  Member("abstract_margin", Policy("probability", "extension", "late", "margin")),
  Member("late_entropy", Policy("argmax", "extension", "late", "entropy")),
  Member("late_max_prob", Policy("argmax", "extension", "late", "max_prob")),
  Member("late_margin", Policy("argmax", "extension", "late", "margin")),
  Member("late_fused_entropy", Policy("argmax", "fused", "late", "entropy")),
  Member("late_fused_max_prob", Policy("argmax", "fused", "late", "max_prob")),
  Member("late_fused_margin", Policy("argmax", "fused", "late", "margin")),
  Member("gated_entropy", Policy("argmax_uncertain", "fused", "late", "entropy")),
  Member("gated_max_prob", Policy("argmax_uncertain", "fused", "late", "max_prob")),
  Member("gated_margin", Policy("argmax_uncertain", "fused", "late", "margin")),
  Member("late_max_prob_cloud_fused", Policy("argmax", "extension", "late", "max_prob", "fused")),
  Member(
    "gated_max_prob_cloud_fused",
    Policy("argmax_uncertain", "fused", "late", "max_prob", "fused"),
  ),
  Member("late_learned", Policy("argmax", "extension", "late", "learned")),
  Member("gated_learned", Policy("argmax_uncertain", "fused", "late", "learned")),
)


def fitted_from(num_images: int) -> tuple[Member, ...]:
  """The members that so many selection images can fit."""
  return tuple(
    member for member in FAMILY if num_images >= FEWEST_IMAGES or not member.policy.learns
  )


class Outcome(NamedTuple):
  """What a policy achieves on selection images, at the operating point selected on them.

  accuracy, offload: shares of images. macs_edge: mean per image. excess: how far it is from the
  limits, as in `select.excess`; 0 if it keeps them.
  """

  accuracy: float
  offload: float
  macs_edge: float
  excess: float


def best(outcomes: Sequence[Outcome], constraints: Constraints) -> int:
  """The number of the outcome that is best under constraints; if none keeps them, of the nearest.

  Best is what `select.select` seeks in thresholds: with a penalty the largest accuracy - penalty x
  offload, else with `min_accuracy` the fewest offloads, else the largest accuracy. Of equals the
  one of fewer edge MACs is taken, then the first.
  """

  def worth(outcome: Outcome) -> float:
    if constraints.offload_penalty is not None:
      return outcome.accuracy - constraints.offload_penalty * outcome.offload
    return outcome.accuracy if constraints.min_accuracy is None else -outcome.offload

  keys = [(outcome.excess, -worth(outcome), outcome.macs_edge) for outcome in outcomes]
  return keys.index(min(keys))
