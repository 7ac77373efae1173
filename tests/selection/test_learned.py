"""The regression of the criterion `learned`, against its definition."""

import math

import numpy as np
import pytest

from meanet_jax.errors import UserError
from meanet_jax.evaluation.records import make_records
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.learned import expected_gain
from meanet_jax.routing.policies import Policy, fixed_thresholds
from meanet_jax.routing.rules import route
from meanet_jax.selection.family import FAMILY, fitted_from
from meanet_jax.selection.learned import FEWEST_IMAGES, C, fit_gain, fit_regression
from tests.experiments import random_logits

HARD = HardClasses(np.array([1, 3], np.int32), 6)
LATE = Policy("argmax", "extension", "late", "learned")


def plain_loss(flat, dense, prediction, target, num_classes) -> float:
  """1/2 |weights|^2 + C x cross-entropies, an image at a time."""
  size = len(dense[0])
  features = [flat[kind * size : (kind + 1) * size] for kind in range(3)]
  flat = flat[3 * size :]
  classes = [flat[kind * num_classes : (kind + 1) * num_classes] for kind in range(3)]
  bias = flat[3 * num_classes :]
  total = 0.5 * sum(w * w for rows in (features, classes) for row in rows for w in row)
  for row, said, kind in zip(dense, prediction, target, strict=True):
    logits = [
      sum(w * x for w, x in zip(of, row, strict=True)) + classes[number][said] + bias[number]
      for number, of in enumerate(features)
    ]
    most = max(logits)
    total += C * (most + math.log(sum(math.exp(v - most) for v in logits)) - logits[kind])
  return total


def test_the_fit_is_the_minimum_of_the_plain_loss():
  rng = np.random.default_rng(0)
  count, classes = 400, 3
  features = rng.normal(size=(count, 2)).astype(np.float32) * [1, 50] + [0, 7]
  features = np.column_stack([features, np.ones(count)])  # and one that is constant
  prediction = rng.integers(classes, size=count)
  target = np.clip(np.round(1 + features[:, 0] + rng.normal(size=count)), 0, 2).astype(int)
  found = fit_regression(features, prediction, target, classes)
  mean, scale = features.mean(0), np.array([*features[:, :2].std(0), 1.0])
  dense = ((features - mean) / scale).tolist()
  of_features = np.array(found.features) * scale
  bias = np.array(found.bias) + np.array(found.features) @ mean
  flat = np.concatenate([of_features.ravel(), np.ravel(found.classes), bias]).tolist()
  least = plain_loss(flat, dense, prediction, target, classes)
  for place in range(len(flat)):
    for step in (-1e-3, 1e-3):
      moved = [value + step * (place == number) for number, value in enumerate(flat)]
      assert plain_loss(moved, dense, prediction, target, classes) > least - 1e-9
  # The gain grows with the first feature, as it was made.
  low, high = (
    expected_gain(found, np.array([[x, 7, 1]], np.float32), np.array([0]))[0] for x in (-2, 2)
  )
  assert low < -0.1 < 0.1 < high


def test_images_are_sent_in_the_order_of_what_is_gained():
  """On fresh images: more is gained from the first fifth than from as many at random."""
  rng = np.random.default_rng(0)
  both = []
  for size in (2500, 4000):
    labels, logits = random_logits(rng, size, 6, HARD.numbers)
    both.append((logits, labels))
  fitted = make_records(*both[0], HARD)
  weights = fit_gain(LATE, fitted, HARD.mask, fixed_thresholds())
  fresh = make_records(*both[1], HARD, gain=weights)
  never = fixed_thresholds()._replace(main=np.float32(2), extension=np.float32(2))
  edge = route(LATE, never, fresh, HARD.mask)
  gain = (fresh.cloud.prediction == fresh.label) * 1.0 - (edge.prediction == fresh.label)
  expected = np.where(edge.ran_extension, fresh.extension.gain, fresh.main.gain)
  first = np.argsort(-expected)[:800]
  assert gain[first].mean() > gain.mean() + 0.1
  # Its unit is accuracy per image that is sent.
  assert abs(expected.mean() - gain.mean()) < 0.05


def test_too_few_images_are_refused_and_leave_its_members_out():
  labels, logits = random_logits(np.random.default_rng(0), 100, 6, HARD.numbers)
  records = make_records(logits, labels, HARD)
  with pytest.raises(
    UserError, match=r"^the criterion 'learned' has 100 images to fit on; accepted: at least 2000 "
  ):
    fit_gain(LATE, records, HARD.mask, fixed_thresholds())
  learned = {member.name for member in FAMILY if member.policy.learns}
  assert learned == {"late_learned", "gated_learned"}
  assert set(fitted_from(FEWEST_IMAGES)) == set(FAMILY)
  few = fitted_from(FEWEST_IMAGES - 1)
  assert {member.name for member in FAMILY} - {member.name for member in few} == learned
