import math

import numpy as np
import pytest

from meanet_jax.errors import UserError
from meanet_jax.routing.fusion import FusionWeights
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.normalised_threshold import (
  NOTHING_SENT,
  normalised_threshold,
  normalised_uncertainty,
  thresholds_at,
)
from meanet_jax.routing.operating_point import OperatingPoint, Temperatures
from meanet_jax.routing.policies import PRESETS, Policy, Thresholds, fixed_thresholds
from meanet_jax.routing.rules import EXTENSION, MAIN
from meanet_jax.routing.scores import scores
from meanet_jax.selection.sweep import threshold_grid

HARD = HardClasses(np.arange(3), 7)
FIXED = fixed_thresholds(hard=0.7, run=0.2)


def test_each_exit_moves_over_its_own_range():
  at = thresholds_at(0.25, Policy(), HardClasses(np.arange(50), 100), FIXED)
  assert at.main == pytest.approx(0.25 * math.log(100), rel=1e-7)
  assert at.extension == pytest.approx(0.25 * math.log(50), rel=1e-7)
  assert (at.hard, at.run) == (np.float32(0.7), np.float32(0.2))
  assert all(isinstance(value, np.float32) for value in at)


def test_a_fused_distribution_has_mains_range():
  at = thresholds_at(0.25, Policy(edge_rule="fused"), HardClasses(np.arange(50), 100), FIXED)
  assert at.main == at.extension == np.float32(0.25 * math.log(100))


def test_thresholds_are_those_of_the_sweep():
  policy, hard = Policy(criterion="max_prob"), HardClasses(np.arange(5), 10)
  grid = threshold_grid(policy, hard, FIXED, 11)
  for point, normalised in enumerate(np.linspace(0, NOTHING_SENT, 11)):
    for found, expected in zip(thresholds_at(normalised, policy, hard, FIXED), grid, strict=True):
      assert found == expected[point]


@pytest.mark.parametrize("criterion", ["entropy", "max_prob", "margin"])
def test_thresholds_give_back_the_normalised_threshold(criterion):
  policy = Policy(offload="late", criterion=criterion)
  for normalised in (0.0, 0.013, 0.5, 1.0):
    thresholds = thresholds_at(normalised, policy, HARD, FIXED)
    point = OperatingPoint(policy, thresholds, Temperatures(), HARD)
    assert normalised_threshold(point) == pytest.approx(normalised, abs=1e-6)


@pytest.mark.parametrize("criterion", ["entropy", "max_prob", "margin"])
@pytest.mark.parametrize("classes", [2, 7, 1000])
def test_images_have_uncertainties_from_0_to_below_nothing_sent(criterion, classes):
  for exit, policy, hard in (
    (MAIN, Policy(criterion=criterion), HardClasses(np.arange(1), classes)),
    (EXTENSION, Policy(criterion=criterion), HardClasses(np.arange(classes), 1001)),
    (EXTENSION, Policy(edge_rule="fused", criterion=criterion), HardClasses(np.arange(1), classes)),
  ):
    logits = np.zeros((2, classes), np.float32)
    logits[1, 0] = 200
    found = normalised_uncertainty(policy, hard, exit, scores(logits))
    uniform, sure = np.asarray(found)
    assert uniform == pytest.approx(1, abs=1e-6)
    assert uniform < NOTHING_SENT
    assert sure == 0


def test_a_policy_without_thresholds_is_refused():
  none = Thresholds(*[np.nan] * 4)
  never = OperatingPoint(Policy(offload="never"), none, Temperatures(), HARD)
  with pytest.raises(UserError, match="offload is 'never'; accepted: 'early' or 'late'"):
    normalised_threshold(never)
  at = Thresholds(*[0.0] * 4)
  for policy in PRESETS.values():
    point = OperatingPoint(policy, at, Temperatures(), HARD, FusionWeights())
    assert normalised_threshold(point) == 0
