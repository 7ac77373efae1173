"""Micro-batches and moving averages, against plain formulas and against steps without them."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meanet_jax.config.stages import AugmentConfig, StageConfig
from meanet_jax.data.augment import normalise
from meanet_jax.errors import UserError
from meanet_jax.models.meanet import BLOCKS, Exits, MEANet, Outputs
from meanet_jax.models.variables import init_variables
from meanet_jax.models.zoo import build
from meanet_jax.training import stages
from meanet_jax.training.optimizers import make_optimizer
from meanet_jax.training.parallel import check_batch_size
from meanet_jax.training.state import create_state
from meanet_jax.training.steps import Recipe, make_train_step, stage_key

TO_HARD = np.array([-1, 0, -1, 1, 2, -1, 3, -1, 4, -1], np.int32)
PLAIN = StageConfig(learning_rate=1.0, momentum=0.0, weight_decay=0.0, schedule="constant")


class Linear(nn.Module):
  """A dense layer on the pixels, and a count of the passes in training mode."""

  classes: int

  @nn.compact
  def __call__(self, images: jax.Array, train: bool) -> jax.Array:
    passes = self.variable("batch_stats", "passes", lambda: jnp.zeros(()))
    if train:
      passes.value += 1
    return nn.Dense(self.classes, name="dense")(images.reshape(images.shape[0], -1))


class WithoutNorm(MEANet):
  """A MEANet of two linear classifiers, without batch norm."""

  @nn.compact
  def __call__(self, images, exits=Exits.ALL, train=()):
    assert Exits.MAIN in exits
    return Outputs(
      Linear(10, name="main_block")(images, "main" in train),
      Linear(5, name="extension_block")(images, "extension" in train),
      None,
    )


def given(size: int = 24):
  rng = np.random.default_rng(3)
  return {
    "image": jnp.asarray(rng.integers(256, size=(size, 8, 8, 1)), jnp.uint8),
    "label": jnp.asarray(rng.integers(10, size=size), jnp.int32),
    "position": jnp.arange(size, dtype=jnp.int32),
  }


def linear_start(tiny):
  net = build(tiny)
  model = WithoutNorm(net.main, net.extension, net.cloud)
  stage = stages.Stage(
    "edge", ("main_block", "extension_block"), Exits.MAIN | Exits.EXTENSION, Exits.MAIN
  )
  train = ("main", "extension")
  collections = model.init(jax.random.key(1), jnp.zeros((1, 8, 8, 1)), Exits.ALL, train)
  variables = {
    block: {name: collections[name][block] for name in ("params", "batch_stats")}
    for block in stage.trainable
  }
  return model, stage, variables


def moved(tiny, accumulate: int, augment: AugmentConfig):
  """What one step subtracts at rate 1, which is the gradient; and the metrics."""
  model, stage, variables = linear_start(tiny)
  config = dataclasses.replace(PLAIN, accumulate=accumulate, augment=augment, label_smoothing=0.1)
  tx = make_optimizer(config, 10)
  state = create_state(stage, variables, tx)
  step = jax.jit(make_train_step(model, stage, Recipe(config, tx), tiny.dataset, to_hard=TO_HARD))
  after, sums = step(state, given(), stage_key(0, "edge"))
  return jax.tree.map(lambda a, b: np.asarray(a - b), state.params, after.params), sums


@pytest.mark.parametrize("accumulate", [2, 3, 8])
def test_without_batch_norm_micro_batches_have_the_gradient_of_the_whole_batch(tiny, accumulate):
  """Two exits, the extension's over hard images, of which micro-batches hold unequal shares."""
  augment = AugmentConfig(pad_crop=2, flip=True, cutout=2)
  whole, metrics = moved(tiny, 1, augment)
  parts, same = moved(tiny, accumulate, augment)
  # Equal but for the order of float32 additions.
  for expected, found in zip(*map(jax.tree.leaves, (whole, parts)), strict=True):
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * np.abs(expected).max())
  assert metrics.keys() == same.keys()
  for name, value in metrics.items():
    assert float(same[name]) == pytest.approx(float(value), rel=1e-5), name


@pytest.mark.parametrize("accumulate", [1, 4])
def test_the_gradient_is_softmax_regressions(tiny, accumulate):
  """(softmax(x W + b) - target)^T x / n, by hand in float64, with smoothed labels."""
  _, _, variables = linear_start(tiny)
  found, _ = moved(tiny, accumulate, AugmentConfig())
  data = given()
  pixels = normalise(data["image"], tiny.dataset.mean, tiny.dataset.std)
  x, labels = np.asarray(pixels, np.float64).reshape(24, -1), np.asarray(data["label"])
  cases = {"main_block": (labels, 10), "extension_block": (TO_HARD[labels], 5)}
  for block, (known, classes) in cases.items():
    rows = known >= 0
    dense = variables[block]["params"]["dense"]
    logits = x[rows] @ np.asarray(dense["kernel"], np.float64) + np.asarray(dense["bias"])
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    error = (p - (0.9 * np.eye(classes)[known[rows]] + 0.1 / classes)) / rows.sum()
    np.testing.assert_allclose(found[block]["dense"]["kernel"], x[rows].T @ error, atol=2e-6)
    np.testing.assert_allclose(found[block]["dense"]["bias"], error.sum(0), atol=2e-6)


def start(tiny, config: StageConfig, averaged: bool = False):
  model = build(tiny)
  variables = init_variables(model, 0, tiny.dataset.image_shape, BLOCKS)
  tx = make_optimizer(config, 10)
  state = create_state(stages.MAIN, variables, tx, averaged)
  return state, jax.jit(make_train_step(model, stages.MAIN, Recipe(config, tx), tiny.dataset))


def test_batch_statistics_go_through_the_micro_batches_in_order(tiny):
  """Rate 0 changes no parameter, so that steps of one micro-batch each are the same passes."""
  still = dataclasses.replace(PLAIN, learning_rate=1e-30)
  data = given()
  state, step = start(tiny, dataclasses.replace(still, accumulate=3))
  together, _ = step(state, data, stage_key(0, "main"))
  state, step = start(tiny, still)
  for begin in (0, 8, 16):
    part = {name: value[begin : begin + 8] for name, value in data.items()}
    state, _ = step(state, part, stage_key(0, "main"))
  for ours, theirs in zip(*map(jax.tree.leaves, (together, state)), strict=True):
    if ours.dtype == jnp.float32 and ours.ndim:
      np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_micro_batches_need_less_memory(tiny):
  """Temporaries of the compiled step, of which activations are the largest part at this size."""

  def temporaries(accumulate: int) -> int:
    state, step = start(tiny, dataclasses.replace(PLAIN, accumulate=accumulate))
    compiled = step.lower(state, given(512), stage_key(0, "main")).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  assert temporaries(8) < 0.5 * temporaries(1)


def test_a_batch_that_micro_batches_cannot_share_is_refused():
  check_batch_size(12, "stages.main.batch_size", 3)
  with pytest.raises(UserError) as caught:
    check_batch_size(16, "stages.main.batch_size", 3)
  assert str(caught.value) == (
    "stages.main.batch_size is 16; accepted: a multiple of 3, for 1 devices x 3 micro-batches"
  )


@pytest.mark.parametrize("decay", [0.15, 0.99])
def test_the_average_is_the_formula(tiny, decay):
  """d average + (1 - d) newest with d = min(decay, (1 + t) / (10 + t)), in float64."""
  config = dataclasses.replace(tiny.stages.main, ema_decay=decay)
  state, step = start(tiny, config, averaged=True)
  expected = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(state.newest())]
  for number in range(1, 7):
    state, _ = step(state, given(), stage_key(0, "main"))
    d = min(decay, (1 + number) / (10 + number))
    newest = jax.tree.leaves(state.newest())
    expected = [d * old + (1 - d) * np.asarray(new) for old, new in zip(expected, newest)]
  assert jax.tree.structure(state.learned()) == jax.tree.structure(state.newest())
  for found, value in zip(jax.tree.leaves(state.learned()), expected, strict=True):
    np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-6)
  plain, step = start(tiny, dataclasses.replace(config, ema_decay=0.0))
  for _ in range(6):
    plain, _ = step(plain, given(), stage_key(0, "main"))
  assert plain.average is None
  # The average is beside the training, not in it.
  for ours, theirs in zip(*map(jax.tree.leaves, (plain.learned(), state.newest())), strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)
