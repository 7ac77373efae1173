"""Which of several policies or systems is best, from what each achieves."""

import numpy as np
import pytest

from meanet_jax.config.constraints import Constraints
from meanet_jax.selection.alternatives import Outcome, best, cheapest, standard_error

BUDGET, SPENT = Constraints(max_offload=0.1), Constraints(max_offload=0.1, spend_budget=True)


@pytest.mark.parametrize(
  ("outcomes", "constraints", "expected"),
  [
    ([(0.9, 0.1, 5.0, 0.0), (0.92, 0.1, 9.0, 0.0), (0.91, 0.1, 1.0, 0.0)], SPENT, 1),
    (
      [(0.9, 0.1, 5.0, 0.0), (0.92, 0.1, 9.0, 0.0), (0.91, 0.1, 1.0, 0.0)],
      BUDGET,
      2,
    ),  # 1 point is noise
    (
      [(0.9, 0.1, 5.0, 0.0), (0.94, 0.1, 9.0, 0.0), (0.91, 0.05, 1.0, 0.0)],
      BUDGET,
      1,
    ),  # 3 points are none
    (
      [(0.9, 0.1, 5.0, 0.0), (0.92, 0.1, 9.0, 0.0), (0.91, 0.05, 12.0, 0.0)],
      BUDGET,
      2,
    ),  # sent before energy
    (
      [(0.9, 0.1, 5.0, 0.0), (0.99, 0.2, 1.0, 0.5), (0.91, 0.1, 1.0, 0.0)],
      BUDGET,
      2,
    ),  # it keeps them
    (
      [(0.9, 0.1, 5.0, 0.0), (0.9, 0.1, 4.0, 0.0), (0.9, 0.1, 4.0, 0.0)],
      BUDGET,
      1,
    ),  # cheaper, then first
    ([(0.9, 0.1, 5.0, 0.0), (0.9, 0.1, 4.0, 0.0), (0.9, 0.1, 4.0, 0.0)], SPENT, 1),
    ([(0.9, 0.3, 5.0, 2.0), (0.8, 0.2, 9.0, 1.0), (0.9, 0.4, 1.0, 3.0)], BUDGET, 1),  # the nearest
    ([(0.9, 0.2, 5.0, 1.0), (0.91, 0.2, 9.0, 1.0)], SPENT, 1),
    ([(0.9, 0.1, 5.0, 0.0), (0.92, 0.2, 5.0, 0.0)], Constraints(offload_penalty=0.3), 0),
    ([(0.9, 0.1, 5.0, 0.0), (0.92, 0.2, 5.0, 0.0)], Constraints(offload_penalty=0.1), 1),
    ([(0.95, 0.3, 5.0, 0.0), (0.9, 0.1, 9.0, 0.0)], Constraints(min_accuracy=0.9), 1),
  ],
)
def test_known_answers(outcomes, constraints, expected):
  made = [Outcome(*outcome, outcome[0], 0.013) for outcome in outcomes]
  assert best(made, constraints) == expected


def test_noise_is_counted_once_from_the_highest_accuracy_of_all():
  """Each is within one standard error of its own best point, the second not of the first's."""
  first = Outcome(0.98, 0.1, 1.0, 0.0, 0.98, 0.01)
  second = Outcome(0.965, 0.01, 1.0, 0.0, 0.974, 0.01)
  assert best([first, second], BUDGET) == 0
  assert best([first, second._replace(accuracy=0.971)], BUDGET) == 1


def test_the_cheapest_sends_least_then_costs_least_then_is_last():
  among = np.array([True, True, True, True, False])
  offload, energy = np.array([0.2, 0.1, 0.1, 0.1, 0.0]), np.array([1.0, 3.0, 2.0, 2.0, 0.0])
  assert cheapest(among, offload, energy) == 3


def test_a_standard_error_is_the_binomial_one():
  assert standard_error(0.9, 100) == pytest.approx(0.03)
  assert standard_error(1.0, 100) == 0
