"""Right answers of every class at every threshold, against the route of every image at each."""

import numpy as np
import pytest

from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.policies import PRESETS, Policy, Thresholds, fixed_thresholds
from meanet_jax.routing.rules import route
from meanet_jax.selection.baselines import CLOUD_ONLY, MAIN_ONLY
from meanet_jax.selection.class_counts import class_counts
from meanet_jax.selection.sweep import threshold_grid
from tests.experiments import random_records

HARD = HardClasses(np.array([1, 2, 5], np.int32), 6)
POLICIES = {**PRESETS, "main_only": MAIN_ONLY, "cloud_only": CLOUD_ONLY}


@pytest.mark.parametrize("name", POLICIES)
def test_counts_equal_routing_at_every_threshold(name):
  policy: Policy = POLICIES[name]
  records = random_records(np.random.default_rng(3), 101, 6, HARD.numbers)
  grid = threshold_grid(policy, HARD, fixed_thresholds(0.5, 0.3), 41)
  found = class_counts(policy, grid, records, HARD)
  assert found.shape == (41, 6)
  for point in range(41):
    taken = route(policy, Thresholds(*(t[point] for t in grid)), records, HARD.mask)
    right = records.label[taken.prediction == records.label]
    assert found[point].tolist() == np.bincount(right, minlength=6).tolist()
