import numpy as np
import pytest

from meanet_jax.routing.policies import Policy, fixed_thresholds
from meanet_jax.routing.rules import predicted_hard
from meanet_jax.selection.gate import fit_run_threshold
from tests.experiments import random_records

HARD = np.array([0, 2, 3])
IS_HARD = np.isin(np.arange(5), HARD)


@pytest.mark.parametrize("hard_rule", ["argmax_uncertain", "uncertain"])
@pytest.mark.parametrize("criterion", ["entropy", "max_prob", "margin"])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.2, 0.5, 1.0])
def test_the_share_that_runs_is_kept_and_no_lower_threshold_keeps_it(hard_rule, criterion, share):
  policy = Policy(hard_rule, criterion=criterion)
  records = random_records(np.random.default_rng(0), 400, 5, HARD)

  def running(threshold) -> int:
    at = fixed_thresholds(run=threshold)
    return int(predicted_hard(policy, at, records.main, records.hard_probability, IS_HARD).sum())

  threshold = fit_run_threshold(policy, records, IS_HARD, share)
  assert threshold.dtype == np.float32
  assert running(threshold) <= share * 400
  most = running(-1.0)
  if running(threshold) < most:
    assert running(np.nextafter(threshold, np.float32(-1))) > share * 400
  else:
    assert most <= share * 400
