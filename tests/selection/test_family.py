"""Which of a family's policies is best, from what each achieves."""

import pytest

from meanet_jax.config.constraints import Constraints
from meanet_jax.routing.policies import PRESETS
from meanet_jax.selection.family import FAMILY, Outcome, best


def test_the_family_holds_every_preset_and_no_policy_twice():
  names = [member.name for member in FAMILY]
  assert len(set(names)) == len({member.policy for member in FAMILY}) == len(FAMILY)
  assert {member.policy for member in FAMILY} >= set(PRESETS.values())
  plain = {member.name for member in FAMILY if not member.calibrated}
  assert plain == {"paper", "paper_imagenet"}
  fusing = {member.name for member in FAMILY if member.policy.cloud_rule == "fused"}
  assert fusing == {"late_max_prob_cloud_fused", "gated_max_prob_cloud_fused"}


BUDGET = Constraints(max_offload=0.1)


@pytest.mark.parametrize(
  ("outcomes", "constraints", "expected"),
  [
    ([(0.9, 0.1, 5, 0), (0.92, 0.1, 9, 0), (0.91, 0.1, 1, 0)], BUDGET, 1),
    ([(0.9, 0.1, 5, 0), (0.99, 0.2, 1, 0.5), (0.91, 0.1, 1, 0)], BUDGET, 2),  # it keeps them
    ([(0.9, 0.1, 5, 0), (0.9, 0.1, 4, 0), (0.9, 0.1, 4, 0)], BUDGET, 1),  # cheaper, then first
    ([(0.9, 0.3, 5, 2), (0.8, 0.2, 9, 1), (0.9, 0.4, 1, 3)], BUDGET, 1),  # the nearest
    ([(0.9, 0.2, 5, 1), (0.91, 0.2, 9, 1)], BUDGET, 1),
    ([(0.9, 0.1, 5, 0), (0.92, 0.2, 5, 0)], Constraints(offload_penalty=0.3), 0),
    ([(0.9, 0.1, 5, 0), (0.92, 0.2, 5, 0)], Constraints(offload_penalty=0.1), 1),
    ([(0.95, 0.3, 5, 0), (0.9, 0.1, 9, 0)], Constraints(min_accuracy=0.9), 1),
  ],
)
def test_known_answers(outcomes, constraints, expected):
  assert best([Outcome(*outcome) for outcome in outcomes], constraints) == expected
