import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meanet_jax.routing.fusion import fuse_cloud, fuse_extension, log_softmax
from meanet_jax.routing.hard_classes import HardClasses

HARD = HardClasses(np.array([1, 2, 5]), 7)


def softmax(logits: list[float]) -> list[float]:
  exps = [math.exp(value - max(logits)) for value in logits]
  return [value / sum(exps) for value in exps]


def plain_fusion(main: list[float], extension: list[float], weight: float) -> list[float]:
  """The formula class by class, in Python's own floats and probabilities instead of logarithms."""
  p_main, p_extension = softmax(main), softmax(extension)
  mass = sum(p_main[c] for c in HARD.numbers)
  parts = [
    (p_main[c] / mass) ** (1 - weight) * p_extension[i] ** weight
    for i, c in enumerate(HARD.numbers.tolist())
  ]
  fused = list(p_main)
  for part, c in zip(parts, HARD.numbers.tolist(), strict=True):
    fused[c] = mass * part / sum(parts)
  return fused


def logits(width: int, seed: int = 0, count: int = 40) -> np.ndarray:
  return (3 * np.random.default_rng(seed).normal(size=(count, width))).astype(np.float32)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_main_and_extension_make_one_distribution(weight):
  main, extension = logits(7), logits(3, 1)
  found = np.exp(fuse_extension(main, extension, HARD, weight))
  assert found.dtype == np.float32
  for row, ours in enumerate(found):
    expected = plain_fusion(main[row].tolist(), extension[row].tolist(), weight)
    np.testing.assert_allclose(ours, expected, rtol=2e-5, atol=1e-7)
  on_device = jax.jit(lambda a, b: fuse_extension(a, b, HARD, weight))(main, extension)
  np.testing.assert_allclose(np.exp(np.asarray(on_device)), found, rtol=2e-5, atol=1e-7)


def test_mains_mass_on_easy_classes_stays():
  main = logits(7)
  fused = fuse_extension(main, logits(3, 1), HARD, 0.8)
  easy = ~HARD.mask
  np.testing.assert_array_equal(fused[:, easy], log_softmax(main)[:, easy])
  np.testing.assert_allclose(np.exp(fused).sum(-1), 1, rtol=1e-5)


def test_without_weight_it_is_main_and_with_all_of_it_the_extension_within_hard_classes():
  main, extension = logits(7), logits(3, 1)
  np.testing.assert_allclose(
    fuse_extension(main, extension, HARD, 0.0), log_softmax(main), rtol=1e-5, atol=1e-5
  )
  fused = np.exp(fuse_extension(main, extension, HARD, 1.0))[:, HARD.numbers]
  np.testing.assert_allclose(
    fused / fused.sum(-1, keepdims=True), np.exp(log_softmax(extension)), rtol=2e-5
  )


@pytest.mark.parametrize("hard", [range(7), [1, 2, 5]])
def test_an_extension_that_knows_all_classes(hard):
  every = HardClasses(np.array(hard), 7, "all")
  main, extension = logits(7), logits(7, 1)
  found = fuse_extension(main, extension, every, 0.4)
  np.testing.assert_allclose(
    found, fuse_cloud(log_softmax(main), extension, 0.4), rtol=1e-5, atol=1e-5
  )


def test_without_an_extension_the_distribution_is_mains():
  none = HardClasses(np.zeros(0, np.int32), 7)
  found = fuse_extension(logits(7), np.zeros((len(logits(7)), 0), np.float32), none, 0.4)
  np.testing.assert_array_equal(found, log_softmax(logits(7)))


def test_cloud_and_edge_make_one_distribution():
  edge, cloud = logits(7), logits(7, 1)
  found = np.exp(np.asarray(fuse_cloud(jnp.asarray(edge), jnp.asarray(cloud), 0.7)))
  for row, ours in enumerate(found):
    pairs = zip(softmax(edge[row].tolist()), softmax(cloud[row].tolist()), strict=True)
    parts = [e**0.3 * c**0.7 for e, c in pairs]
    np.testing.assert_allclose(ours, np.array(parts) / sum(parts), rtol=2e-5, atol=1e-7)


def test_extreme_logits_stay_finite():
  main, extension = 100 * logits(7), 100 * logits(3, 1)
  fused = fuse_extension(main, extension, HARD, 0.5)
  assert np.isfinite(fused).all()
  assert np.isfinite(fuse_cloud(fused, 100 * logits(7, 2), 0.5)).all()
