import numpy as np
import pytest

from meanet_jax.routing.fusion import FusionWeights, fuse_cloud, fuse_extension, log_softmax
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.selection.fusion import fit_fusion

HARD = HardClasses(np.array([1, 2, 5]), 6)


def images(count: int, quality: tuple[float, float, float], seed: int = 0):
  """Logits of exits that see the class through noise, each with its own quality."""
  rng = np.random.default_rng(seed)
  labels = rng.integers(6, size=count).astype(np.int32)
  main, extension, cloud = (
    (rng.normal(size=(count, len(classes))) + q * (classes == labels[:, None])).astype(np.float32)
    for q, classes in zip(quality, (np.arange(6), HARD.numbers, np.arange(6)), strict=True)
  )
  return (main, extension, cloud), labels


def losses(logits, labels, weights: FusionWeights) -> tuple[float, float]:
  """Mean negative log-likelihood of the edge on hard classes, and with the cloud on all."""
  main, extension, cloud = (values.astype(np.float64) for values in logits)
  rows, hard = np.arange(len(labels)), HARD.mask[labels]
  edge = fuse_extension(main, extension, HARD, weights.edge)
  taken = HARD.mask[main.argmax(-1)]
  said = np.where(taken[:, None], edge, log_softmax(main))
  both = fuse_cloud(said, cloud, weights.cloud)
  return -edge[rows, labels][hard].mean(), -both[rows, labels].mean()


@pytest.mark.parametrize("quality", [(2, 2, 2), (1, 3, 2), (3, 1, 4)])
def test_no_weight_of_a_grid_is_better(quality):
  logits, labels = images(3000, quality)
  found = fit_fusion(logits, labels, HARD)
  edge, cloud = losses(logits, labels, found)
  for weight in np.linspace(0, 1, 41):
    assert edge <= losses(logits, labels, found._replace(edge=weight))[0] + 1e-9
    assert cloud <= losses(logits, labels, found._replace(cloud=weight))[1] + 1e-9


def test_the_better_exit_weighs_more():
  (weak, _), (strong, _) = (
    fit_fusion(*images(3000, (2, quality, 2)), HARD) for quality in (0.5, 4)
  )
  assert weak < 0.5 < strong


def test_a_cloud_that_is_always_right_replaces_and_a_useless_one_says_nothing():
  (main, extension, _), labels = images(500, (2, 2, 2))
  right = 5 * np.eye(6, dtype=np.float32)[labels]
  assert fit_fusion((main, extension, right), labels, HARD).cloud == 1
  wrong = 50 * np.eye(6, dtype=np.float32)[(labels + 1) % 6]
  assert fit_fusion((main, extension, wrong), labels, HARD).cloud == 0


def test_without_an_image_of_a_hard_class_the_edge_weighs_evenly():
  logits, labels = images(300, (2, 2, 2))
  easy = ~HARD.mask[labels]
  found = fit_fusion(tuple(values[easy] for values in logits), labels[easy], HARD)
  assert found.edge == 0.5
  none = fit_fusion(tuple(values[:0] for values in logits), labels[:0], HARD)
  assert none == FusionWeights()
