import math

import jax.numpy as jnp
import numpy as np
import pytest

from meanet_jax.errors import UserError
from meanet_jax.routing.scores import (
  hard_probability,
  largest_uncertainty,
  refuse_nan,
  scores,
  uncertainty,
)


def test_known_answers():
  logits = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]], np.float32))
  result = scores(logits, np.array([4, 6, 9], np.int32))
  assert result.prediction.tolist() == [4, 9]
  np.testing.assert_allclose(result.max_prob, [0.5, 0.7], rtol=1e-6)
  np.testing.assert_allclose(result.margin, [0.25, 0.5], rtol=1e-5)
  entropy = [1.5 * math.log(2), -sum(p * math.log(p) for p in (0.1, 0.2, 0.7))]
  np.testing.assert_allclose(result.entropy, entropy, rtol=1e-6)
  hard = hard_probability(logits, np.array([True, False, True]))
  np.testing.assert_allclose(hard, [0.75, 0.8], rtol=1e-6)


def test_extreme_logits_stay_finite():
  result = scores(np.array([[1e4, 0, -1e4], [0, 0, 0]], np.float32))
  np.testing.assert_allclose(result.entropy, [0, math.log(3)], atol=1e-6)
  np.testing.assert_allclose(result.margin, [1, 0], atol=1e-6)


def test_an_exit_of_one_class_is_certain():
  result = scores(np.zeros((2, 1), np.float32), np.array([3], np.int32))
  assert result.prediction.tolist() == [3, 3]
  assert result.margin.tolist() == [1, 1]
  assert result.entropy.tolist() == [0, 0]


@pytest.mark.parametrize("criterion", ["entropy", "max_prob", "margin"])
def test_a_uniform_answer_is_the_most_uncertain(criterion):
  uniform = scores(np.zeros((1, 7), np.float32))
  largest = largest_uncertainty(criterion, 7)
  np.testing.assert_allclose(uncertainty(criterion, uniform)[0], largest, rtol=1e-6)


def test_numpy_and_jax_agree():
  logits = np.random.default_rng(0).normal(size=(50, 12)).astype(np.float32) * 4
  for ours, theirs in zip(scores(logits)[:4], scores(jnp.asarray(logits))[:4], strict=True):
    assert isinstance(ours, np.ndarray)
    np.testing.assert_allclose(ours, np.asarray(theirs), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_no_numbers_are_refused_and_counted(bad):
  logits = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
  refuse_nan("extension", logits)
  logits[2, 1] = logits[2, 2] = logits[4, 0] = bad
  message = "exit extension has NaN or infinite logits for 2 of 5 images; accepted: none"
  with pytest.raises(UserError, match=message):
    refuse_nan("extension", logits)
