import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meanet_jax.routing.counts import Counts
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.policies import PRESETS, Policy, Thresholds, fixed_thresholds
from meanet_jax.routing.rules import CLOUD, EXTENSION, MAIN, route
from meanet_jax.routing.scores import scores, uncertainty
from meanet_jax.selection.sweep import sweep, threshold_grid
from tests.experiments import random_records

HARD = np.array([1, 2, 5])
IS_HARD = np.isin(np.arange(6), HARD)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_every_point_equals_routing_at_that_threshold(preset, chunk):
  policy = PRESETS[preset]
  records = random_records(np.random.default_rng(3), 101, 6, HARD)
  grid = threshold_grid(policy, HardClasses(HARD, 6), fixed_thresholds(0.5, 0.3), 41)
  counts = sweep(
    policy,
    jax.tree.map(jnp.asarray, grid),
    jax.tree.map(jnp.asarray, records),
    jnp.asarray(IS_HARD),
    chunk,
  )
  for point in range(41):
    taken = route(policy, Thresholds(*(t[point] for t in grid)), records, IS_HARD)
    correct = taken.prediction == records.label
    expected = Counts(
      correct=correct.sum(),
      hard_correct=(correct & IS_HARD[records.label]).sum(),
      main=(taken.exit == MAIN).sum(),
      extension=(taken.exit == EXTENSION).sum(),
      cloud=(taken.exit == CLOUD).sum(),
      ran_extension=taken.ran_extension.sum(),
      extension_and_cloud=(taken.ran_extension & (taken.exit == CLOUD)).sum(),
    )
    assert [int(c[point]) for c in counts] == [int(c) for c in expected]


@pytest.mark.parametrize("criterion", ["entropy", "max_prob", "margin"])
def test_the_last_point_of_a_grid_offloads_nothing(criterion):
  hard = HardClasses(np.arange(50), 100)
  grid = threshold_grid(Policy(criterion=criterion), hard, fixed_thresholds(), 11)
  assert grid.main[0] == 0
  assert grid.extension[0] == 0
  assert np.all(np.diff(grid.main) > 0)
  # A uniform answer, the most uncertain of all, in float32.
  assert uncertainty(criterion, scores(np.zeros((1, 100), np.float32)))[0] <= grid.main[-1]
  assert uncertainty(criterion, scores(np.zeros((1, 50), np.float32)))[0] <= grid.extension[-1]
