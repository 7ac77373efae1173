import dataclasses

import numpy as np
import pytest

from meanet_jax.errors import UserError
from meanet_jax.selection.risk_control import bounded_p_value, fixed_sequence, images_needed
from meanet_jax.selection.select import Constraints, Points, select

OFFLOAD = np.array([1.0, 0.6, 0.3, 0.2, 0.2, 0.05, 0.0])
ACCURACY = np.array([0.98, 0.985, 0.97, 0.95, 0.95, 0.92, 0.9])
POINTS = Points(ACCURACY, OFFLOAD, 1 + 9 * OFFLOAD, 2 + 20 * OFFLOAD, 10.0, 22.0)


@pytest.mark.parametrize(
  ("constraints", "index"),
  [
    (Constraints(max_offload=0.2), 4),  # the whole budget; of equals the later
    (Constraints(max_offload=1.0), 0),
    (Constraints(max_offload=0.0), 6),
    (Constraints(max_energy_mj=3.7), 2),
    (Constraints(max_latency_ms=8.0), 2),
    (Constraints(min_accuracy=0.95), 4),  # the fewest offloads that suffice
    (Constraints(min_accuracy=0.95, max_offload=0.5), 4),
    (Constraints(max_energy_mj=3.7, max_offload=0.25), 4),
    (Constraints(offload_penalty=0.05), 2),  # 0.97 - 0.015 is the best
    (Constraints(offload_penalty=1.0), 6),
    (Constraints(offload_penalty=0.05, max_offload=0.25), 4),
  ],
)
def test_known_answers(constraints, index):
  assert select(POINTS, 1000, constraints) == (index, None)


def test_constraints_that_cannot_be_kept_say_so_and_give_the_nearest_point():
  index, unmet = select(POINTS, 1000, Constraints(min_accuracy=0.99))
  assert index == 1
  assert unmet == "no threshold keeps min-accuracy 0.99; the nearest has min-accuracy 0.985"
  index, unmet = select(POINTS, 1000, Constraints(min_accuracy=0.96, max_offload=0.25))
  assert index == 3  # 1% short of accuracy; the point before is 20% over the offloads
  assert unmet is not None
  assert "max-offload 0.25 and min-accuracy 0.96" in unmet


def test_no_constraint_is_refused():
  with pytest.raises(UserError, match="no constraint was given"):
    select(POINTS, 1000, Constraints())


def test_too_few_images_are_counted():
  constraints = Constraints(min_accuracy=0.99, confidence=0.95)
  with pytest.raises(UserError, match=r"has 100 images, too few .* accepted: at least 299"):
    select(POINTS, 100, constraints)
  assert images_needed(0.01, 0.05) == 299
  assert 0.99**299 <= 0.05 < 0.99**298
  with pytest.raises(UserError, match="no number of images can show max-offload 0"):
    select(POINTS, 100, Constraints(max_offload=0.0, confidence=0.9))


def test_too_few_images_are_counted_for_means_too():
  # A hundredth of the 10 mJ that one image can cost: no fewer images can show it.
  with pytest.raises(UserError, match=r"show max-energy-mj 0\.1 .* accepted: at least 299"):
    select(POINTS, 298, Constraints(max_energy_mj=0.1, confidence=0.95))
  assert select(POINTS, 299, Constraints(max_energy_mj=0.1, confidence=0.95)).unmet is not None


def test_a_price_promises_nothing():
  with pytest.raises(UserError, match=r"confidence 0\.9 was asked with an offload penalty alone"):
    select(POINTS, 1000, Constraints(offload_penalty=0.1, confidence=0.9))
  assert (
    select(POINTS, 1000, Constraints(offload_penalty=0.1, max_offload=0.5, confidence=0.9)).unmet
    is None
  )


def test_a_limit_that_nothing_can_exceed_holds_everywhere():
  assert select(POINTS, 10, Constraints(max_offload=1.0, confidence=0.99)) == (0, None)


def test_a_mean_is_no_share_even_if_its_largest_value_is_1():
  """Mean 0.1 of 60 values up to 1 does not show 0.2 at 0.95; 6 of 60 events would."""
  one = np.array([0.1])
  points = Points(one, one, one, one, 1.0, 1.0)
  assert select(points, 60, Constraints(max_offload=0.2, confidence=0.95)).unmet is None
  assert select(points, 60, Constraints(max_energy_mj=0.2, confidence=0.95)).unmet is not None


def test_confidence_costs_offloads_and_more_of_it_costs_more():
  offload = np.linspace(1, 0, 101)
  points = Points(np.ones(101), offload, offload, offload, 1.0, 1.0)
  chosen = [
    offload[select(points, 500, Constraints(max_offload=0.2, confidence=c)).point]
    for c in (0.5, 0.9, 0.99)
  ]
  assert 0.2 >= chosen[0] > chosen[1] > chosen[2] > 0.1


def test_testing_stops_at_the_first_failure():
  p = np.array([0.01, 0.2, 0.01, 0.01])
  assert fixed_sequence(p, np.array([3, 2, 1, 0]), 0.05).tolist() == [False, False, True, True]
  assert fixed_sequence(p, np.array([1, 0, 2, 3]), 0.05).tolist() == [False] * 4
  assert fixed_sequence(p[[0, 2]], np.array([0, 1]), 0.05).all()


def population(rng: np.random.Generator, size: int):
  """Uncertainty, and whether edge and cloud are right: uncertain images are harder for both."""
  unsure = rng.uniform(size=size)
  edge = rng.uniform(size=size) < 1 - 0.6 * unsure**2
  cloud = rng.uniform(size=size) < 0.99 - 0.02 * unsure
  return unsure, edge, cloud


THRESHOLDS = np.linspace(-0.01, 1, 102)


def measured(unsure, edge, cloud) -> Points:
  sent = unsure > THRESHOLDS[:, None]
  offload = sent.mean(axis=1)
  accuracy = np.where(sent, cloud, edge).mean(axis=1)
  return Points(accuracy, offload, 0.2 + 4 * offload, 1 + 30 * offload, 4.2, 31.0)


@pytest.mark.parametrize(
  "constraints",
  [
    Constraints(max_offload=0.2),
    Constraints(min_accuracy=0.93),
    Constraints(max_energy_mj=1.0),
    Constraints(max_latency_ms=10.0),
    Constraints(max_offload=0.5, min_accuracy=0.9),
  ],
  ids=str,
)
def test_the_stated_coverage_over_1000_resampled_splits(constraints):
  """The constraints hold on the population with the stated probability, for any split."""
  rng = np.random.default_rng(0)
  truth = measured(*population(rng, 400_000))
  constraints = dataclasses.replace(constraints, confidence=0.9)
  held = kept = 0
  for _ in range(1000):
    index, unmet = select(measured(*population(rng, 400)), 400, constraints)
    if unmet is not None:
      held += 1  # nothing was promised
      continue
    kept += 1
    held += bool(
      (constraints.max_offload is None or truth.offload[index] <= constraints.max_offload)
      and (constraints.min_accuracy is None or truth.accuracy[index] >= constraints.min_accuracy)
      and (constraints.max_energy_mj is None or truth.energy_mj[index] <= constraints.max_energy_mj)
      and (
        constraints.max_latency_ms is None or truth.latency_ms[index] <= constraints.max_latency_ms
      )
    )
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
