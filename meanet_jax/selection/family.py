"""The family of policies that `routing.policy` `auto` selects from."""

from typing import NamedTuple

from meanet_jax.routing.policies import PRESETS, Policy


class Member(NamedTuple):
  """A policy of the family; calibrated: whether logits are divided by fitted temperatures first."""

  name: str
  policy: Policy
  calibrated: bool = True


# Fixed in advance: to add members after a look at a test split would be a selection on it. None
# fuses the cloud's answer, which needs a cloud that answers with probabilities.
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
)
