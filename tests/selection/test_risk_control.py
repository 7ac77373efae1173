"""What a confidence promises: p-values, fixed-sequence testing, and the stated coverage."""

import dataclasses

import numpy as np
import pytest

from meanet_jax.config.constraints import Constraints
from meanet_jax.errors import UserError
from meanet_jax.selection.limits import Points, limits_of
from meanet_jax.selection.risk_control import bounded_p_value, fixed_sequence
from meanet_jax.selection.select import select


def test_confidence_costs_offloads_and_more_of_it_costs_more():
  offload = np.linspace(1, 0, 101)
  points = Points(np.ones(101), offload, offload, offload, 1.0, 1.0)
  chosen = [
    offload[
      select(points, 500, Constraints(max_offload=0.2, confidence=c, spend_budget=True)).point
    ]
    for c in (0.5, 0.9, 0.99)
  ]
  assert 0.2 >= chosen[0] > chosen[1] > chosen[2] > 0.1


def test_testing_stops_at_the_first_failure():
  p = np.array([0.01, 0.2, 0.01, 0.01])
  assert fixed_sequence(p, np.array([3, 2, 1, 0]), 0.05).tolist() == [False, False, True, True]
  assert fixed_sequence(p, np.array([1, 0, 2, 3]), 0.05).tolist() == [False] * 4
  assert fixed_sequence(p[[0, 2]], np.array([0, 1]), 0.05).all()


def population(rng: np.random.Generator, size: int):
  """Uncertainty, class, and whether edge and cloud are right: uncertain images are harder."""
  unsure, label = rng.uniform(size=size), rng.integers(3, size=size)
  edge = rng.uniform(size=size) < 1 - 0.6 * unsure**2 - 0.02 * label
  cloud = rng.uniform(size=size) < 0.99 - 0.02 * unsure
  return unsure, label, edge, cloud


THRESHOLDS = np.linspace(-0.01, 1, 102)


def measured(unsure, label, edge, cloud) -> Points:
  sent = unsure > THRESHOLDS[:, None]
  offload = sent.mean(axis=1)
  right = np.where(sent, cloud, edge)
  return Points(
    right.mean(axis=1),
    offload,
    0.2 + 4 * offload,
    1 + 30 * offload,
    4.2,
    31.0,
    bytes_up=100 * offload,
    image_bytes=100.0,
    latency_p95_ms=np.where(offload > 0.05, 31.0, 1.0),
    late=offload,
    class_correct=np.stack([right[:, label == k].sum(axis=1) for k in range(3)], axis=1),
    class_images=np.bincount(label, minlength=3),
  )


@pytest.fixture(scope="module")
def truth() -> Points:
  return measured(*population(np.random.default_rng(0), 400_000))


@pytest.mark.parametrize(
  "constraints",
  [
    Constraints(max_offload=0.2),
    Constraints(max_offload=0.2, spend_budget=True),
    Constraints(max_bytes=20.0),
    Constraints(min_accuracy=0.93),
    Constraints(min_balanced_accuracy=0.87),
    Constraints(min_class_recall=0.87, max_offload=0.8, spend_budget=True),
    Constraints(max_energy_mj=1.0),
    Constraints(max_latency_ms=10.0),
    Constraints(max_latency_p95_ms=5.0, spend_budget=True),
    Constraints(max_offload=0.5, min_accuracy=0.9),
  ],
  ids=str,
)
def test_the_stated_coverage_over_1000_resampled_splits(constraints, truth):
  """The constraints hold on the population with the stated probability, for any split."""
  rng = np.random.default_rng(1)
  kept_by = np.logical_and.reduce([limit.kept() for limit in limits_of(truth, constraints)])
  constraints = dataclasses.replace(constraints, confidence=0.9)
  held = kept = 0
  for _ in range(1000):
    index, unmet, *_ = select(measured(*population(rng, 400)), 400, constraints)
    if unmet is not None:
      held += 1  # nothing was promised
      continue
    kept += 1
    held += bool(kept_by[index])
  assert kept > 900  # the guarantee is not empty
  # 900 expected at worst; 3 standard deviations of 1,000 draws are 28.
  assert held >= 900 - 28


def test_bounded_p_values_are_valid():
  """Losses that are 0 or 1 with mean exactly at the limit: p <= 0.1 at most one time in ten."""
  rng = np.random.default_rng(0)
  means = rng.binomial(200, 0.3, size=5000) / 200
  assert np.mean(bounded_p_value(means, 200, 0.3) <= 0.1) <= 0.1
  assert bounded_p_value(np.array([0.1]), 200, 0.3)[0] < 1e-6
  assert bounded_p_value(np.array([0.4]), 200, 0.3)[0] == 1


def test_two_limits_share_what_a_confidence_leaves():
  """Each is tested at 0.05: 0.9^28 = 0.052 of 28 images without a violation shows neither."""
  points = Points(*(np.array([value]) for value in (1.0, 0.0, 1.0, 1.0)), 1.0, 1.0)
  one = Constraints(max_offload=0.1, confidence=0.9)
  both = dataclasses.replace(one, min_accuracy=0.9)
  assert select(points, 28, one).unmet is None
  with pytest.raises(UserError, match="calibration has 28 images"):
    select(points, 28, both)
  assert select(points, 29, both).unmet is None
