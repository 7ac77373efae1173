"""The rule against slow references."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meanet_jax.errors import UserError
from meanet_jax.routing.online.deadline import (
  Deadline,
  RoundTrips,
  check_deadline,
  least_round_trips,
  may_send,
  record_round_trip,
  record_withheld,
  upper_round_trip,
)

QUANTILES = ["0.5", "0.7", "0.8", "0.9", "0.95", "0.99"]


def recorded(deadline: Deadline, trips) -> RoundTrips:
  state = RoundTrips()
  for seconds in trips:
    state = record_round_trip(deadline, state, seconds)
  return state


def slow_bound(quantile: str, trips: list[float]) -> float | None:
  """The smallest trip that at least quantile x (n + 1) trips do not exceed, in exact arithmetic."""
  enough = [
    trip
    for trip in trips
    if sum(other <= trip for other in trips) >= Fraction(quantile) * (len(trips) + 1)
  ]
  return min(enough) if enough else None


@settings(max_examples=200, deadline=None)
@given(
  quantile=st.sampled_from(QUANTILES),
  trips=st.lists(st.sampled_from([0.01, 0.02, 0.03, 0.5, math.inf]), max_size=130),
  elapsed=st.floats(0, 1),
  window=st.integers(100, 120),
)
def test_the_bound_is_an_exact_order_statistic(quantile, trips, elapsed, window):
  deadline = Deadline(0.4, float(quantile), window)
  state = recorded(deadline, trips)
  expected = slow_bound(quantile, trips[-window:])
  assert upper_round_trip(deadline, state) == expected
  left = 0.4 - elapsed
  assert may_send(deadline, state, elapsed) == (left > 0 and (expected is None or expected <= left))


@pytest.mark.parametrize("quantile", QUANTILES)
def test_it_is_optimistic_until_enough_are_seen(quantile):
  deadline = Deadline(0.1, float(quantile), 200)
  least = least_round_trips(deadline)
  assert least == math.ceil(Fraction(quantile) / (1 - Fraction(quantile)))
  state = recorded(deadline, [1.0] * (least - 1))
  assert upper_round_trip(deadline, state) is None
  assert may_send(deadline, state, 0.05)
  assert not may_send(deadline, state, 0.1)  # but not when nothing is left
  state = record_round_trip(deadline, state, 1.0)
  assert not may_send(deadline, state, 0.05)


def test_nine_of_nine_and_nine_of_ten_by_hand():
  deadline = Deadline(1.0)
  assert deadline == Deadline(1.0, 0.9, 50)
  trips = [0.01 * number for number in range(1, 10)]
  assert upper_round_trip(deadline, recorded(deadline, trips)) == 0.09
  assert upper_round_trip(deadline, recorded(deadline, [*trips, 5.0])) == 5.0
  assert upper_round_trip(deadline, recorded(deadline, [5.0, *trips, *trips, 0.02])) == 0.09


def test_only_the_newest_count():
  deadline = Deadline(1.0, window=20)
  state = recorded(deadline, [9.0] * 20 + [0.1] * 20)
  assert state.seconds == (0.1,) * 20
  assert upper_round_trip(deadline, state) == 0.1


def test_it_opens_again_after_a_window_of_withheld_images():
  deadline = Deadline(0.5, window=20)
  state = recorded(deadline, [math.inf] * 20)
  for _ in range(19):
    assert not may_send(deadline, state, 0.0)
    state = record_withheld(deadline, state)
  assert not may_send(deadline, state, 0.0)
  state = record_withheld(deadline, state)
  assert state == RoundTrips()
  assert may_send(deadline, state, 0.0)
  # An answer in between starts the count again.
  state = recorded(deadline, [math.inf] * 20)
  for _ in range(19):
    state = record_withheld(deadline, state)
  state = record_withheld(deadline, record_round_trip(deadline, state, 9.0))
  assert (len(state.seconds), state.withheld) == (20, 1)


@pytest.mark.parametrize("quantile", [0.8, 0.9])
def test_what_is_sent_arrives_in_time_as_often_as_the_quantile_says(quantile):
  """Exchangeable round trips around the deadline: sent images are late in at most 1 - quantile.

  Of all images, sent or not, at most that share is late, for the bound holds for each of them.
  """
  rng = np.random.default_rng(0)
  for scale in (0.2, 0.4, 0.6):
    deadline = Deadline(1.0, quantile)
    state, late, count = RoundTrips(), 0, 6_000
    for seconds in rng.exponential(scale, count).tolist():
      if may_send(deadline, state, 0.0):
        late += seconds > 1.0
        state = record_round_trip(deadline, state, seconds if seconds <= 1.0 else math.inf)
      else:
        state = record_withheld(deadline, state)
    assert late / count <= 1 - quantile + 0.03


@pytest.mark.parametrize(
  ("deadline", "message"),
  [
    (Deadline(0.001), "--d is 1, and the edge alone takes 2; accepted: more milliseconds"),
    (Deadline(math.nan), "--d is nan, and the edge alone takes 2"),
    (Deadline(math.inf), "--d is inf, and"),
    (Deadline(1.0, quantile=1.0), "--d: quantile is 1; accepted: between 0 and 1"),
    (Deadline(1.0, window=8), "--d: window is 8; accepted: at least 9 round trips"),
  ],
)
def test_deadlines_that_are_refused(deadline, message):
  with pytest.raises(UserError, match=message) as caught:
    check_deadline("--d", deadline, 0.002)
  assert "\n" not in str(caught.value)


def test_a_deadline_that_is_accepted():
  check_deadline("--d", Deadline(0.002), 0.002)
