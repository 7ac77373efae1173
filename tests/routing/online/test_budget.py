import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meanet_jax.errors import UserError
from meanet_jax.routing.normalised_threshold import NOTHING_SENT
from meanet_jax.routing.online.budget import (
  Budget,
  Spending,
  check_budget,
  correct,
  guaranteed_excess,
  spend,
  start,
  strictest,
)

STEPS = [0.01, 0.05, 0.3, 1.0]


def run(budget, threshold, images, kept_cost=0.0, sent_cost=None):
  """Thresholds before each image, and costs; an image above its threshold is sent."""
  state, thresholds, costs = start(budget, threshold), [], []
  for number, image in enumerate(images):
    full = budget.largest if sent_cost is None else sent_cost[number]
    cost = full if image > state.threshold else kept_cost
    thresholds.append(state.threshold)
    costs.append(cost)
    state = spend(budget, state, cost)
  return np.array(thresholds), np.array(costs), state


def largest_window(values: np.ndarray) -> float:
  """The largest sum of consecutive values, by looking at every window."""
  sums = np.concatenate([[0], np.cumsum(values)])
  return max(sums[last] - sums[first] for last in range(len(sums)) for first in range(last + 1))


def test_three_images_by_hand():
  budget = Budget(target=0.1, step=0.5)
  state = start(budget, 0.4)
  assert state == Spending(0.4, 0, 0.0)
  state = spend(budget, state, 1.0)
  assert state == Spending(pytest.approx(0.4 + 0.5 * 0.9), 1, 1.0)
  state = spend(budget, spend(budget, state, 0.0), 0.0)
  assert state == Spending(pytest.approx(0.4 + 0.5 * 0.9 - 2 * 0.5 * 0.1), 3, 1.0)


def test_bytes_move_the_threshold_by_their_share_of_the_largest():
  budget = Budget(target=100, largest=784, step=0.1)
  assert spend(budget, start(budget, 0.5), 392).threshold == pytest.approx(0.5 + 0.1 * 292 / 784)


@pytest.mark.parametrize("step", STEPS)
@settings(max_examples=60, deadline=None)
@given(
  threshold=st.floats(-1, 2),
  target=st.floats(0.01, 1),
  images=st.lists(st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]), min_size=1, max_size=80),
)
def test_any_sequence_keeps_the_share_within_the_bound_in_every_window(
  step, threshold, target, images
):
  budget = Budget(target, step=step)
  thresholds, costs, state = run(budget, threshold, images)
  limit = guaranteed_excess(budget, 1)
  assert largest_window(costs - target) <= limit * (1 + 1e-9)
  assert largest_window(target - costs) <= limit * (1 + 1e-9)
  assert thresholds.min() >= -step * target - 1e-12
  assert thresholds.max() <= NOTHING_SENT + step * (1 - target) + 1e-12
  assert (state.num_images, state.total) == (len(images), pytest.approx(costs.sum()))


def adversary(budget: Budget, length: int, rng: np.random.Generator) -> np.ndarray:
  """An image just above or just below the threshold, whichever pushes the mean away the longest."""
  state, images = start(budget, 0.0), []
  for number in range(length):
    over = (number // 200) % 2 == 0 or rng.uniform() < 0.1
    images.append(min(max(state.threshold + (1e-6 if over else -1e-6), 0), 1))
    state = spend(budget, state, float(images[-1] > state.threshold))
  return np.array(images)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("target", [0.02, 0.1, 0.5])
def test_an_adversary_that_sees_the_threshold_cannot_break_the_bound(step, target):
  budget = Budget(target, step=step)
  images = adversary(budget, 2000, np.random.default_rng(0))
  costs = run(budget, 0.0, images)[1]
  sums = np.concatenate([[0], np.cumsum(costs - target)])
  for length in (50, 500, 1999):
    excess = (sums[length:] - sums[:-length]) / length
    assert np.abs(excess).max() <= guaranteed_excess(budget, length) * (1 + 1e-9)
  # It comes close: the bound is not an idle one.
  assert sums.max() > 0.8 / step


@settings(max_examples=60, deadline=None)
@given(
  seed=st.integers(0, 10**6),
  target=st.floats(20, 900),
  kept=st.floats(0, 20),
  step=st.sampled_from(STEPS),
)
def test_costs_that_vary_never_exceed_the_bound(seed, target, kept, step):
  """Bytes of encoded images, energy of the edge beside: one-sided, also when little is spent."""
  rng = np.random.default_rng(seed)
  budget = Budget(target, largest=800, step=step)
  images = np.clip(rng.normal(rng.choice([0.1, 0.9], 60), 0.3), 0, 1)
  costs = run(budget, 0.5, images, kept, rng.uniform(kept, 800, 60))[1]
  assert largest_window(costs - target) <= guaranteed_excess(budget, 1) * (1 + 1e-9)


def test_a_cost_that_is_known_late_by_hand():
  budget = Budget(100, largest=400, step=0.2)
  state = correct(budget, spend(budget, start(budget, 0.5), 200), 150.0)
  assert state == Spending(pytest.approx(0.5 + 0.2 * 250 / 400), 1, 350)
  assert state == spend(budget, start(budget, 0.5), 350)
  # Cheaper than expected, down to the lowest threshold and no further.
  state = correct(budget, state, -350.0)
  assert state == Spending(pytest.approx(0.5 - 0.2 * 100 / 400), 1, 0)
  assert correct(budget, state, -4000.0).threshold == -0.2 * 100 / 400


@settings(max_examples=100, deadline=None)
@given(
  seed=st.integers(0, 10**6),
  target=st.floats(20, 700),
  step=st.sampled_from(STEPS),
  window=st.integers(0, 16),
  short=st.floats(0, 1),
)
def test_costs_that_are_known_late_are_not_forgotten(seed, target, step, window, short):
  """Expected when an image is sent, corrected when `window` others have been sent after it."""
  rng = np.random.default_rng(seed)
  budget = Budget(target, largest=800, step=step)
  first = state = start(budget, 0.5)
  late, total = [], 0.0
  for image, actual in zip(rng.uniform(size=120), rng.uniform(0, 800, 120), strict=True):
    if image <= state.threshold:
      state = spend(budget, state, 0.0)
      continue
    state, total = spend(budget, state, short * actual), total + actual
    late.append((1 - short) * actual)
    if len(late) > window:
      state = correct(budget, state, late.pop(0))
  for difference in late:
    state = correct(budget, state, difference)
  assert (state.num_images, state.total) == (120, pytest.approx(total))
  assert state.threshold >= -step * target / 800 - 1e-12
  excess, rounding = total - 120 * target, 1e-6
  assert excess <= (state.threshold - first.threshold) * 800 / step + rounding
  # The bound of costs known at once, and what can be on its way.
  assert excess <= guaranteed_excess(budget, 1) + window * 800 + rounding


def test_several_budgets_are_all_kept():
  """The share binds while images are small, bytes when they are large."""
  rng = np.random.default_rng(0)
  share, size = Budget(0.2), Budget(50, largest=800)
  states = start(share, 0.3), start(size, 0.3)
  sent_bytes = np.concatenate([rng.uniform(50, 150, 3000), rng.uniform(600, 800, 3000)])
  shares, totals = [], []
  for payload in sent_bytes:
    sent = rng.uniform() > strictest(*states)
    shares.append(float(sent))
    totals.append(sent * payload)
    states = spend(share, states[0], shares[-1]), spend(size, states[1], totals[-1])
  for costs, budget in ((shares, share), (totals, size)):
    sums = np.concatenate([[0], np.cumsum(np.array(costs) - budget.target)])
    assert (sums[1000:] - sums[:-1000]).max() / 1000 <= guaranteed_excess(budget, 1000)
  assert np.mean(shares[500:3000]) == pytest.approx(0.2, abs=0.01)
  assert np.mean(totals[3500:]) == pytest.approx(50, rel=0.05)


def test_a_budget_that_does_not_bind_sends_everything_and_saves_nothing():
  budget = Budget(900, largest=800)
  state = start(budget, 0.5)
  for _ in range(5000):
    state = spend(budget, state, 800.0)
  assert state.threshold == pytest.approx(-0.2 * 900 / 800)
  assert state.total == 5000 * 800


def test_the_share_of_a_changed_distribution_is_found():
  """Uniform thresholds, then u^0.2, much more uncertain: the quantiles are 0.9 and 0.9^0.2."""
  rng = np.random.default_rng(0)
  budget = Budget(0.1, step=0.02)
  images = rng.uniform(size=40_000)
  images[20_000:] **= 0.2
  thresholds, costs, _ = run(budget, 0.9, images)
  assert thresholds[5_000:20_000].mean() == pytest.approx(0.9, abs=0.005)
  assert thresholds[25_000:].mean() == pytest.approx(0.9**0.2, abs=0.005)
  blocks = costs.reshape(-1, 2000).mean(axis=1)
  assert np.abs(blocks - 0.1).max() < 0.005


def test_a_budget_that_cannot_be_kept_is_refused():
  check_budget("target_offload", Budget(0.1))
  for target in (0.0, -1.0, math.nan, math.inf):
    with pytest.raises(UserError, match=r"target_offload is .*; accepted: a number above 0$"):
      check_budget("target_offload", Budget(target))
  with pytest.raises(
    UserError,
    match=r"max_energy_mj is 0.001; accepted: a number above 0.002, which an image costs that is "
    r"not sent \(0.002\)",
  ):
    check_budget("max_energy_mj", Budget(0.001, 0.2), least=0.002)
