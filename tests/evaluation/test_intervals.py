import numpy as np
import pytest
import scipy.stats

from meanet_jax.cost.energy import Shares
from meanet_jax.evaluation.intervals import (
  RESAMPLES,
  balanced_interval,
  drawn_shares,
  exact_interval,
  quantiles_around,
  worst_interval,
)
from meanet_jax.routing.policies import Policy


@pytest.mark.parametrize(("count", "size"), [(0, 30), (30, 30), (141, 719), (1, 2)])
def test_an_exact_interval_is_clopper_and_pearsons(count, size):
  expected = scipy.stats.binomtest(count, size).proportion_ci(0.95, method="exact")
  assert exact_interval(count, size) == pytest.approx((expected.low, expected.high))


def test_drawn_shares_vary_as_those_of_images_do():
  drawn = drawn_shares(Policy(offload="late"), Shares(1.0, 0.6, 0.3, 0.2), 400)
  assert drawn.main == 1.0
  for found, share in (
    (drawn.extension, 0.6),
    (drawn.sent, 0.3),
    (drawn.extension_and_sent, 0.2),
  ):
    assert found.shape == (RESAMPLES,)
    error = np.sqrt(share * (1 - share) / 400)
    low, high = quantiles_around(share, found)
    assert (share - low, high - share) == pytest.approx((1.96 * error, 1.96 * error), rel=0.1)


@pytest.mark.parametrize(("sent", "size"), [(0, 20), (1, 20), (20, 20)])
def test_what_no_image_did_has_a_share_all_the_same(sent, size):
  """Jeffreys' interval, of two kinds of images."""
  policy = Policy(hard_rule="never", offload="early")
  drawn = drawn_shares(policy, Shares(1.0, 0.0, sent / size, 0.0), size)
  expected = scipy.stats.beta.ppf([0.025, 0.975], sent + 0.5, size - sent + 0.5)
  low, high = quantiles_around(sent / size, drawn.sent)
  assert low == pytest.approx(min(expected[0], sent / size), abs=0.01)
  assert high == pytest.approx(max(expected[1], sent / size), abs=0.01)


@pytest.mark.parametrize(
  ("policy", "impossible"),
  [
    (Policy(), ["extension_and_sent"]),
    (Policy(offload="never"), ["sent", "extension_and_sent"]),
    (Policy(hard_rule="never"), ["extension", "extension_and_sent"]),
    (Policy(offload="always"), ["extension", "extension_and_sent"]),
    (Policy(offload="late"), []),
  ],
)
def test_nothing_is_drawn_that_a_policy_never_does(policy, impossible):
  always = policy.offload == "always"
  drawn = drawn_shares(policy, Shares(1.0 - always, 0.0, float(always), 0.0), 20)
  for name in ("extension", "sent", "extension_and_sent"):
    found = getattr(drawn, name)
    assert (found == 0).all() == (name in impossible), name
  assert not always or np.allclose(drawn.sent, 1)


@pytest.mark.parametrize("right", [[30, 10, 0], [0, 10, 0], [30, 0, 0], [0, 0, 0]])
def test_classes_that_are_all_right_or_all_wrong_are_no_certainty(right):
  correct, images = np.array(right), np.array([30, 10, 0])
  low, high = balanced_interval(correct, images)
  figure = np.mean(correct[:2] / images[:2])
  assert low <= figure <= high
  assert 0.05 < high - low < 0.3


def test_balanced_intervals_hold_what_they_are_said_to():
  """Of 200 splits with few images of most classes, most of which are all right."""
  rng, images = np.random.default_rng(0), np.array([200] + [10] * 9)
  covered = 0
  for correct in rng.binomial(images, 0.97, (200, 10)):
    low, high = balanced_interval(correct, images)
    covered += low <= 0.97 <= high
  assert covered >= 0.93 * 200


def test_intervals_of_classes():
  correct, images = np.array([900, 400, 0, 95]), np.array([1000, 500, 0, 100])
  recall = np.array([0.9, 0.8, 0.95])
  error = np.sqrt(np.sum(recall * (1 - recall) / images[images > 0])) / 3
  low, high = balanced_interval(correct, images)
  assert recall.mean() - low == pytest.approx(1.96 * error, rel=0.1)
  assert high - recall.mean() == pytest.approx(1.96 * error, rel=0.1)
  low, high = worst_interval(np.array([90, 40, 0, 10]), np.array([100, 50, 0, 10]))
  each = [exact_interval(c, n, 1 - 0.05 / 3) for c, n in ((90, 100), (40, 50), (10, 10))]
  assert (low, high) == (min(end for end, _ in each), each[1][1])
