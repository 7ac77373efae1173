"""Budgets on digits that become noisier and blurrier half-way, at the defaults: within 2%.

The edge and the cloud are scikit-learn's classifiers, trained here: budgets see nothing but scores.
"""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from benchmarks.online_follow import (
  SETTLING,
  TOLERANCE,
  WINDOW,
  Wanted,
  energy,
  errors,
  follow,
  offloads,
  png_bytes,
  settled_errors,
  window_means,
)
from benchmarks.online_stream import Stream, harder_half_way
from meanet_jax.config.schema import CostConfig
from meanet_jax.cost.energy import BlockMacs, CostModel, Shares
from meanet_jax.edge.link.encoding import Encoding, encode
from meanet_jax.routing.online.budget import STEP, Budget, guaranteed_excess
from meanet_jax.routing.scores import scores

HALF = 6000


@pytest.fixture(scope="module")
def stream() -> Stream:
  digits, rng = load_digits(), np.random.default_rng(0)
  images = np.rint(digits.images * 255 / 16).astype(np.uint8)[..., None]
  flat, labels = images.reshape(len(images), -1) / 255, digits.target
  edge = LogisticRegression(C=0.1, max_iter=1000).fit(flat[:900], labels[:900])
  cloud = SVC().fit(flat[:900], labels[:900])
  drawn = rng.integers(900, len(images), size=2 * HALF)
  images, labels = harder_half_way(images[drawn], 20, 0.5, rng), labels[drawn]
  flat = images.reshape(len(images), -1) / 255
  said = scores(edge.decision_function(flat).astype(np.float32))
  asked = scores(cloud.decision_function(flat).astype(np.float32))
  size = np.array([len(encode(Encoding("png"), image)) for image in images])
  macs, extended = BlockMacs(31_136, 908_224, 0), np.isin(said.prediction, (1, 3, 5, 8, 9))
  kept, sent = (
    CostModel(CostConfig(), macs, weight).energy_mj(Shares(1.0, extended, 1.0, extended))
    for weight in (0 * size, size)
  )
  return Stream(
    uncertainty=np.asarray(said.entropy / np.float32(np.log(10))),
    edge_right=said.prediction == labels,
    cloud_right=asked.prediction == labels,
    edge_confidence=said.max_prob,
    cloud_confidence=asked.max_prob,
    bytes=size,
    kept_mj=kept,
    sent_mj=sent,
    agrees=said.prediction == asked.prediction,
  )


def test_the_stream_becomes_harder(stream):
  before, after = stream.halves
  assert len(before.uncertainty) == len(after.uncertainty) == HALF
  assert after.uncertainty.mean() > 1.1 * before.uncertainty.mean()
  assert after.edge_right.mean() < before.edge_right.mean()


def test_window_means_by_hand():
  costs = np.arange(WINDOW + 2.0)
  expected = [costs[first : first + WINDOW].mean() for first in range(3)]
  np.testing.assert_allclose(window_means(costs), expected)
  error = np.arange(2 * HALF - WINDOW + 1.0)  # by the number of a window's first image
  before, after = settled_errors(error)
  assert (before[0], before[-1] + WINDOW) == (SETTLING, HALF)
  assert (after[0], after[-1] + WINDOW) == (HALF + SETTLING, 2 * HALF)


@pytest.mark.parametrize("make", [offloads, png_bytes, energy])
def test_every_window_of_2000_images_keeps_its_budget_within_2_percent(stream, make):
  wanted: Wanted = make(stream)
  assert wanted.budget.step == STEP
  followed = follow(stream, wanted)
  for part in settled_errors(errors(wanted.budget, followed)):
    assert np.abs(part).max() <= TOLERANCE


def test_a_fixed_threshold_does_not(stream):
  wanted = offloads(stream)
  still = follow(stream, wanted._replace(budget=Budget(wanted.budget.target, step=1e-9)))
  assert settled_errors(errors(wanted.budget, still))[1].min() > 0.5


def test_no_window_exceeds_the_guarantee_not_even_across_the_change(stream):
  for wanted in (offloads(stream), png_bytes(stream), energy(stream)):
    excess = window_means(follow(stream, wanted).costs) - wanted.budget.target
    assert excess.max() <= guaranteed_excess(wanted.budget, WINDOW)
