"""The criterion `learned`: its number, by plain Python, and what goes with it."""

import math

import numpy as np
import pytest

from meanet_jax.config.parsing import resolve
from meanet_jax.errors import UserError
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.learned import LEAST_REST, GainWeights, with_gain
from meanet_jax.routing.normalised_threshold import (
  NOTHING_SENT,
  normalised_threshold,
  normalised_uncertainty,
  thresholds_at,
)
from meanet_jax.routing.operating_point import OperatingPoint, Temperatures
from meanet_jax.routing.policies import Policy, fixed_thresholds
from meanet_jax.routing.rules import MAIN, Records, route
from meanet_jax.routing.scores import Scores, scores, uncertainty
from tests.experiments import tiny_config
from tests.learned import some_weights

CLASSES = 5
HARD = HardClasses(np.array([0, 3], np.int32), CLASSES)
LATE = Policy("argmax", "extension", "late", "learned")


def some_scores(seed: int, count: int = 40) -> Scores:
  rng = np.random.default_rng(seed)
  logits = rng.normal(size=(count, CLASSES)) * rng.choice([0.3, 2, 20], size=(count, 1))
  return scores(logits.astype(np.float32))


def plain_gain(weights: GainWeights, answer, main, mass: float, ran: bool) -> float:
  prediction, max_prob, entropy, margin = (value.item() for value in answer[:4])
  features = [
    math.log(max_prob),
    math.log(max(1 - max_prob, LEAST_REST)),
    margin,
    entropy,
    mass,
    float(ran),
    float(prediction == main.prediction.item()),
  ]
  logits = [
    bias + classes[prediction] + sum(w * x for w, x in zip(row, features, strict=True))
    for row, classes, bias in zip(*weights, strict=True)
  ]
  exp = [math.exp(value - max(logits)) for value in logits]
  return (exp[2] - exp[0]) / sum(exp)


@pytest.mark.parametrize("ran", [False, True])
def test_a_gain_is_that_of_plain_python_for_one_image_and_for_many(ran):
  weights, main, extension = some_weights(CLASSES), some_scores(1), some_scores(2)
  mass = np.linspace(0, 1, 40, dtype=np.float32)
  answer = extension if ran else main
  found = with_gain(weights, answer, main, mass, ran)
  assert found[:4] == answer[:4]
  np.testing.assert_array_equal(uncertainty("learned", found), found.gain)
  for row in range(40):
    one = Scores(*(values[row] for values in answer[:4]))
    its_main = Scores(*(values[row] for values in main[:4]))
    alone = with_gain(weights, one, its_main, mass[row], ran)
    assert alone.gain == found.gain[row]  # a device decides about one image at a time
    assert alone.gain.dtype == np.float32
    expected = plain_gain(weights, one, its_main, float(mass[row]), ran)
    assert alone.gain == pytest.approx(expected, abs=2e-5)


def test_normalised_thresholds_reach_from_everything_to_nothing():
  weights, main = some_weights(CLASSES), some_scores(1)
  mass = np.full(40, 0.5, np.float32)
  main = with_gain(weights, main, main, mass, False)
  extension = with_gain(weights, some_scores(2), main, mass, True)
  label = np.zeros(40, np.int32)
  records = Records(label, mass, main, extension, some_scores(3))

  def sent(normalised: float) -> int:
    at = thresholds_at(normalised, LATE, HARD, fixed_thresholds())
    return int((route(LATE, at, records, HARD.mask).exit == 2).sum())

  shares = [sent(value) for value in np.linspace(0, NOTHING_SENT, 50)]
  assert (shares[0], shares[-1]) == (40, 0)
  assert shares == sorted(shares, reverse=True)
  assert len(set(shares)) > 5
  at = thresholds_at(0.6, LATE, HARD, fixed_thresholds())
  assert at.main == pytest.approx(0.2)
  point = OperatingPoint(LATE, at, Temperatures(), HARD, gain=weights)
  assert normalised_threshold(point) == pytest.approx(0.6)
  own = normalised_uncertainty(LATE, HARD, MAIN, main)
  np.testing.assert_array_equal(own > 0.6, main.gain > at.main)


def test_an_operating_point_keeps_its_weights_on_disk():
  at = thresholds_at(0.6, LATE, HARD, fixed_thresholds())
  point = OperatingPoint(LATE, at, Temperatures(), HARD, gain=some_weights(CLASSES))
  assert OperatingPoint.from_json(point.to_json()) == point
  with pytest.raises(UserError, match=r"^gain is missing; expected weights, which Policy"):
    OperatingPoint(LATE, at, Temperatures(), HARD)
  short = some_weights(CLASSES)._replace(bias=(1.0, 2.0))
  with pytest.raises(UserError, match=r"^gain has rows of .* and 2 biases; expected rows of "):
    OperatingPoint(LATE, at, Temperatures(), HARD, gain=short)
  source = point.to_json()
  source["gain"]["classes"] = [["a"]]
  with pytest.raises(UserError, match=r"^gain holds no rows of numbers: "):
    OperatingPoint.from_json(source)
  # A point of an earlier version, which knew no such criterion.
  old = OperatingPoint(Policy(), fixed_thresholds()._replace(main=0.1), Temperatures(), HARD)
  fields = old.to_json()
  del fields["gain"]
  assert OperatingPoint.from_json(fields) == old


def test_rules_that_do_not_go_with_it_are_refused():
  for rules in (("argmax", "extension", "early"), ("argmax", "most_confident", "late")):
    with pytest.raises(UserError, match=r"^criterion 'learned' stands with offload "):
      Policy(*rules, "learned")
  fields = tiny_config()
  fields.routing.criterion = "learned"
  with pytest.raises(UserError, match=r"^routing.criterion is 'learned' with routing.offload 'ea"):
    resolve(fields)
