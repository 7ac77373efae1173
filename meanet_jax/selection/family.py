"""The family of policies that `routing.policy` `auto` selects from."""

from typing import NamedTuple

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
  Member("gated_max_prob", PRESETS["gated"]),
  Member("gated_margin", Policy("argmax_uncertain", "fused", "late", "margin")),
  # For an extension of all classes, which may answer whatever main predicts.
  Member("uncertain_entropy", Policy("uncertain", "fused", "late", "entropy")),
  Member("uncertain_max_prob", PRESETS["uncertain"]),
  Member("uncertain_margin", Policy("uncertain", "fused", "late", "margin")),
  Member("late_max_prob_cloud_fused", Policy("argmax", "extension", "late", "max_prob", "fused")),
  Member(
    "gated_max_prob_cloud_fused",
    Policy("argmax_uncertain", "fused", "late", "max_prob", "fused"),
  ),
  Member(
    "uncertain_max_prob_cloud_fused",
    Policy("uncertain", "fused", "late", "max_prob", "fused"),
  ),
  Member("late_learned", Policy("argmax", "extension", "late", "learned")),
  Member("gated_learned", Policy("argmax_uncertain", "fused", "late", "learned")),
)


def fitted_from(num_images: int) -> tuple[Member, ...]:
  """The members that so many selection images can fit."""
  return tuple(
    member for member in FAMILY if num_images >= FEWEST_IMAGES or not member.policy.learns
  )
