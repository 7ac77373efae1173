import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meanet_jax.routing.online.bandit import Bandit, Observed, choose_arm, observe, start

LEVELS = tuple(np.linspace(0, 1, 6).tolist())


def reward(bandit, arm, uncertainty, edge, cloud):
  """SplitEE's reward, image by image: confidence, minus the offload cost of what is sent."""
  return cloud - bandit.offload_cost if uncertainty > bandit.thresholds[arm] else edge


def play(bandit, images):
  """Arms played on images [(uncertainty, edge and cloud confidence)], and the final state."""
  state, arms = start(bandit), []
  for uncertainty, edge, cloud in images:
    arm = choose_arm(bandit, state)
    sent = uncertainty > bandit.thresholds[arm]
    state = observe(bandit, state, arm, uncertainty, edge, cloud if sent else None)
    arms.append(arm)
  return arms, state


def stream(rng, size, hard=0.3):
  """The edge's confidence is 1 - uncertainty / 2; the cloud is confident about every image."""
  uncertainty = np.where(rng.uniform(size=size) < hard, rng.uniform(0.5, 1, size), 0.1)
  return list(zip(uncertainty, 1 - uncertainty / 2, rng.uniform(0.9, 1, size), strict=True))


def test_the_index_by_hand():
  bandit = Bandit((0.2, 0.8), offload_cost=0.1, exploration=2.0)
  state = Observed(np.array([4.0, 9.0]), np.array([2.0, 7.2]), 13.0)
  index = [0.5 + 2 * math.sqrt(math.log(13) / 4), 0.8 + 2 * math.sqrt(math.log(13) / 9)]
  assert index[0] > index[1]
  assert choose_arm(bandit, state) == 0
  assert choose_arm(bandit._replace(exploration=0.1), state) == 1


def test_rewards_by_hand():
  bandit = Bandit((0.0, 0.4, 0.8), offload_cost=0.25)
  # Kept by arm 1: arm 0 might have sent it, and what it would have got is not known.
  kept = observe(bandit, start(bandit), 1, 0.3, 0.9, None)
  np.testing.assert_array_equal(kept.count, [0, 1, 1])
  np.testing.assert_allclose(kept.total, [0, 0.9, 0.9])
  # Sent by arm 1: arm 2 keeps it.
  sent = observe(bandit, kept, 1, 0.5, 0.6, 0.95)
  np.testing.assert_array_equal(sent.count, [0, 2, 2])
  np.testing.assert_allclose(sent.total, [0, 0.9 + 0.7, 0.9 + 0.6])
  assert sent.rounds == 2
  # Without side observations the edge's answer to what is sent need not be known.
  alone = bandit._replace(side_observations=False)
  sent = observe(alone, start(alone), 1, 0.5, None, 0.95)
  np.testing.assert_array_equal(sent.count, [0, 1, 0])
  np.testing.assert_allclose(sent.total, [0, 0.7, 0])


def test_an_image_on_the_threshold_is_what_the_device_did_with_it():
  bandit = Bandit((0.5, 0.9), offload_cost=0.2)
  state = observe(bandit, start(bandit), 0, 0.5, 0.6, 1.0)
  np.testing.assert_allclose(state.total, [0.8, 0.6])


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), side=st.booleans(), cost=st.floats(0, 0.5))
def test_means_are_those_of_the_images_an_arm_was_observed_on(seed, side, cost):
  rng = np.random.default_rng(seed)
  bandit = Bandit(LEVELS, cost, side_observations=side)
  images = stream(rng, 40)
  arms, state = play(bandit, images)
  for arm in range(len(LEVELS)):
    on = [
      image
      for image, played in zip(images, arms, strict=True)
      if played == arm or (side and played < arm)
    ]
    assert state.count[arm] == len(on)
    assert state.total[arm] == pytest.approx(sum(reward(bandit, arm, *i) for i in on), abs=1e-9)


def test_every_arm_is_played_once_first_and_the_one_that_sends_least_begins():
  images = stream(np.random.default_rng(0), len(LEVELS))
  arms, _ = play(Bandit(LEVELS, 0.2), images)
  assert arms == [5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize(("cost", "best"), [(0.05, {1, 2}), (0.7, {5})])
def test_the_best_arm_is_played_most_and_regret_grows_slowly(cost, best):
  """Cheap: the cloud's 0.95 - 0.05 beats at most 0.75 above uncertainty 0.5, not 0.95 at 0.1."""
  bandit = Bandit(LEVELS, cost)
  images = stream(np.random.default_rng(0), 20_000)
  arms, _ = play(bandit, images)
  got = np.array([reward(bandit, arm, *i) for arm, i in zip(arms, images, strict=True)])
  each = [np.array([reward(bandit, a, *i) for i in images]) for a in range(len(LEVELS))]
  means = [values.mean() for values in each]
  assert max(means) == pytest.approx(max(means[arm] for arm in best))
  regret = np.cumsum(each[int(np.argmax(means))] - got)
  late = np.array(arms[10_000:])
  assert np.isin(late, list(best)).mean() > 0.8
  # Logarithmic: the second half adds much less than the first.
  assert regret[-1] - regret[10_000] < 0.5 * regret[10_000] + 10


def test_side_observations_cost_less_regret():
  images = stream(np.random.default_rng(1), 10_000)
  lost = {}
  for side in (True, False):
    bandit = Bandit(LEVELS, 0.05, side_observations=side)
    arms, _ = play(bandit, images)
    lost[side] = sum(
      reward(bandit, 1, *i) - reward(bandit, arm, *i) for arm, i in zip(arms, images, strict=True)
    )
  assert 0 < lost[True] < 0.8 * lost[False]


def test_a_discount_follows_a_change():
  """Sending pays, until the cloud's confidence falls below what it costs."""
  rng = np.random.default_rng(0)
  before = stream(rng, 8000, hard=0.5)
  after = [(uncertainty, edge, 0.5) for uncertainty, edge, _ in stream(rng, 4000, hard=0.5)]
  last = {}
  for discount in (1.0, 0.998):
    arms, _ = play(Bandit(LEVELS, 0.05, exploration=0.3, discount=discount), before + after)
    last[discount] = np.mean(np.array(arms[10_000:]) >= 4)
  assert last[0.998] > 0.7
  assert last[0.998] > last[1.0] + 0.3
