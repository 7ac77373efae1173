"""The family of policies."""

from meanet_jax.routing.policies import PRESETS
from meanet_jax.selection.family import FAMILY


def test_the_family_holds_every_preset_and_no_policy_twice():
  names = [member.name for member in FAMILY]
  assert len(set(names)) == len({member.policy for member in FAMILY}) == len(FAMILY)
  assert {member.policy for member in FAMILY} >= set(PRESETS.values())
  plain = {member.name for member in FAMILY if not member.calibrated}
  assert plain == {"paper", "paper_imagenet"}
  fusing = {member.name for member in FAMILY if member.policy.cloud_rule == "fused"}
  assert fusing == {f"{rule}_max_prob_cloud_fused" for rule in ("late", "gated", "uncertain")}
