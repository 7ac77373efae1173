import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from meanet_jax.errors import UserError
from meanet_jax.routing.online.agreement import (
  Agreement,
  AgreementMonitor,
  Agreements,
  agreement,
  check_monitor,
  clopper_pearson,
  is_monitored,
  record,
)


@settings(max_examples=200, deadline=None)
@given(
  trials=st.integers(1, 3000),
  share=st.floats(0, 1),
  confidence=st.sampled_from([0.5, 0.9, 0.95, 0.999]),
)
def test_the_interval_is_scipys(trials, share, confidence):
  successes = round(share * trials)
  found = clopper_pearson(successes, trials, confidence)
  expected = scipy.stats.binomtest(successes, trials).proportion_ci(confidence, "exact")
  assert found == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_known_intervals():
  # No success in n: (tail)^(1/n) is what remains (the "rule of three", exact).
  assert clopper_pearson(0, 100, 0.95) == (0.0, pytest.approx(1 - 0.025**0.01, abs=1e-12))
  assert clopper_pearson(100, 100, 0.95) == (pytest.approx(0.025**0.01, abs=1e-12), 1.0)
  low, high = clopper_pearson(50, 100, 0.95)
  assert (low, high) == (pytest.approx(0.3983211, abs=1e-7), pytest.approx(0.6016789, abs=1e-7))


@pytest.mark.parametrize("truth", [0.5, 0.9, 0.99])
def test_the_interval_covers_as_often_as_it_says(truth):
  """Exactly, by summing over every outcome: at least the confidence, for any truth."""
  covered = 0.0
  for successes in range(61):
    low, high = clopper_pearson(successes, 60, 0.9)
    covered += scipy.stats.binom.pmf(successes, 60, truth) * (low <= truth <= high)
  assert covered >= 0.9


def test_the_window_rolls():
  monitor = AgreementMonitor(share=0.02, window=4)
  state = Agreements()
  for agrees in (False, True, True, True, True, False):
    state = record(monitor, state, agrees)
  assert state.agreed == (True, True, True, False)
  found = agreement(monitor, state)
  assert (found.num_images, found.share) == (4, 0.75)
  assert (found.lower, found.upper) == clopper_pearson(3, 4, 0.95)


def test_the_alarm_sounds_when_the_whole_interval_is_below_the_floor():
  monitor = AgreementMonitor(share=0.02, floor=0.9)
  state, first = Agreements(), None
  for number in range(60):
    state = record(monitor, state, number % 2 == 0)
    if first is None and agreement(monitor, state).alarm:
      first = number + 1
  expected = next(
    n
    for n in range(1, 61)
    if scipy.stats.binomtest(-(-n // 2), n).proportion_ci(0.95, "exact").high < 0.9
  )
  assert first == expected
  agreeing = Agreements((True,) * 100)
  assert not agreement(monitor, agreeing).alarm


def test_nothing_is_said_of_no_image():
  found = agreement(AgreementMonitor(share=0.02), Agreements())
  assert found[0] == 0
  assert all(math.isnan(value) for value in found[1:4])
  assert found == Agreement(0, found.share, found.lower, found.upper, False)


def test_monitored_images_are_a_sample_that_seed_and_number_decide():
  monitor = AgreementMonitor(share=0.02)
  chosen = np.array([is_monitored(monitor, 0, number) for number in range(50_000)])
  # 5 standard deviations of a binomial share.
  assert abs(chosen.mean() - 0.02) < 5 * math.sqrt(0.02 * 0.98 / 50_000)
  gaps = np.diff(np.flatnonzero(chosen))
  assert scipy.stats.kstest(gaps - 0.5, scipy.stats.expon(scale=50).cdf).pvalue > 1e-3
  again = [is_monitored(monitor, 0, number) for number in range(1000)]
  assert again == chosen[:1000].tolist()
  other = np.array([is_monitored(monitor, 1, number) for number in range(50_000)])
  assert np.sum(chosen & other) < 50  # 20 are expected of independent draws


def test_none_and_all():
  numbers = range(200)
  assert not any(is_monitored(AgreementMonitor(share=0.0), 0, number) for number in numbers)
  assert all(is_monitored(AgreementMonitor(share=1.0), 0, number) for number in numbers)


@pytest.mark.parametrize(
  ("field", "value", "message"),
  [
    ("share", 1.5, "agreement share is 1.5; accepted: a share from 0 to 1"),
    ("share", math.nan, "agreement share is nan; accepted: a share from 0 to 1"),
    ("floor", -0.1, "agreement floor is -0.1; accepted: a share from 0 to 1"),
    ("confidence", 1.0, "agreement confidence is 1; accepted: between 0 and 1"),
    ("window", 0, "agreement window is 0; accepted: at least 1 image"),
  ],
)
def test_numbers_out_of_range_are_refused(field, value, message):
  check_monitor(AgreementMonitor(share=0.02))
  with pytest.raises(UserError) as error:
    check_monitor(AgreementMonitor(share=0.02)._replace(**{field: value}))
  assert str(error.value) == message
