import numpy as np
import pytest
import scipy.stats

from meanet_jax.evaluation.intervals import (
  RESAMPLES,
  balanced_interval,
  bootstrap_interval,
  exact_interval,
  resampled_counts,
  worst_interval,
)
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.policies import Policy, Thresholds
from meanet_jax.routing.rules import CLOUD, route
from tests.experiments import random_records

HARD = HardClasses(np.array([1, 2, 5], np.int32), 6)


@pytest.mark.parametrize(("count", "size"), [(0, 30), (30, 30), (141, 719), (1, 2)])
def test_an_exact_interval_is_clopper_and_pearsons(count, size):
  expected = scipy.stats.binomtest(count, size).proportion_ci(0.95, method="exact")
  assert exact_interval(count, size) == pytest.approx((expected.low, expected.high))


def test_resampled_splits_vary_as_images_do():
  records = random_records(np.random.default_rng(0), 400, 6, HARD.numbers)
  policy = Policy(offload="late")
  taken = route(policy, Thresholds(*map(np.float32, (0.6, 0.4, 0.5, 0.0))), records, HARD.mask)
  counts = resampled_counts(taken, records, HARD)
  assert counts.cloud.shape == (RESAMPLES,)
  np.testing.assert_allclose(counts.main + counts.extension + counts.cloud, 400)
  share, ran = np.mean(taken.exit == CLOUD), np.mean(taken.ran_extension)
  assert 0.1 < share < 0.9
  assert 0.1 < ran < 0.9
  for drawn, true in ((counts.cloud, share), (counts.ran_extension, ran)):
    error = np.sqrt(true * (1 - true) / 400)
    low, high = bootstrap_interval(drawn / 400)
    assert (true - low, high - true) == pytest.approx((1.96 * error, 1.96 * error), rel=0.1)


def test_intervals_of_classes():
  correct, images = np.array([90, 40, 0, 10]), np.array([100, 50, 0, 10])
  recall = np.array([0.9, 0.8, 1.0])
  error = np.sqrt(np.sum(recall * (1 - recall) / images[images > 0])) / 3
  low, high = balanced_interval(correct, images)
  assert recall.mean() - low == pytest.approx(1.96 * error, rel=0.1)
  assert high - recall.mean() == pytest.approx(1.96 * error, rel=0.1)
  low, high = worst_interval(correct, images)
  each = [exact_interval(c, n, 1 - 0.05 / 3) for c, n in ((90, 100), (40, 50), (10, 10))]
  assert (low, high) == (min(end for end, _ in each), each[1][1])
