import math

import numpy as np
import pytest

from meanet_jax.errors import UserError
from meanet_jax.routing.normalised_threshold import (
  NOTHING_SENT,
  image_level,
  level_of,
  thresholds_at,
)
from meanet_jax.routing.policies import PRESETS, Policy, Thresholds
from meanet_jax.routing.scores import scores
from meanet_jax.selection.sweep import threshold_grid


def test_each_exit_moves_over_its_own_range():
  at = thresholds_at(0.25, "entropy", 100, 50, 0.7)
  assert at.main == pytest.approx(0.25 * math.log(100), rel=1e-7)
  assert at.extension == pytest.approx(0.25 * math.log(50), rel=1e-7)
  assert at.hard == np.float32(0.7)
  assert all(isinstance(value, np.float32) for value in at)


def test_levels_are_those_of_the_sweep():
  grid = threshold_grid("max_prob", 10, 5, 11, 0.5)
  for point, level in enumerate(np.linspace(0, NOTHING_SENT, 11)):
    for found, expected in zip(thresholds_at(level, "max_prob", 10, 5, 0.5), grid, strict=True):
      assert found == expected[point]


@pytest.mark.parametrize("criterion", ["entropy", "max_prob", "margin"])
def test_a_threshold_has_the_level_that_it_was_made_from(criterion):
  policy = Policy(offload="late", criterion=criterion)
  for level in (0.0, 0.013, 0.5, 1.0):
    thresholds = thresholds_at(level, criterion, 7, 3, 0.5)
    assert level_of(policy, thresholds, 7) == pytest.approx(level, abs=1e-6)


@pytest.mark.parametrize("criterion", ["entropy", "max_prob", "margin"])
@pytest.mark.parametrize("classes", [2, 7, 1000])
def test_images_have_levels_from_0_to_below_nothing_sent(criterion, classes):
  logits = np.zeros((2, classes), np.float32)
  logits[1, 0] = 200
  uniform, sure = np.asarray(image_level(criterion, scores(logits), classes))
  assert uniform == pytest.approx(1, abs=1e-6)
  assert uniform < NOTHING_SENT
  assert sure == 0


def test_a_policy_without_thresholds_has_no_level():
  with pytest.raises(UserError, match="offload is 'never'; accepted: 'early' or 'late'"):
    level_of(Policy(offload="never"), Thresholds(np.nan, np.nan, np.nan), 10)
  assert level_of(PRESETS["paper"], Thresholds(0.0, np.nan, np.nan), 10) == 0
