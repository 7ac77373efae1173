import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meanet_jax.config import AugmentConfig
from meanet_jax.data.augment import normalise
from meanet_jax.models.meanet import BLOCKS
from meanet_jax.models.variables import by_collection, init_variables
from meanet_jax.models.zoo import build
from meanet_jax.training import stages
from meanet_jax.training.optimizers import make_optimizer
from meanet_jax.training.state import create_state
from meanet_jax.training.steps import cross_entropy, make_train_step, stage_key


def start(tiny, stage):
  model = build(tiny)
  variables = init_variables(model, 0, tiny.dataset.image_shape, BLOCKS)
  settings = tiny.stage(stage.name)
  tx = make_optimizer(settings, 10)
  state = create_state(stage, variables, tx)
  return state, jax.jit(make_train_step(model, stage, settings, tiny.dataset, tx)), variables


def batch(seed: int, classes: int):
  rng = np.random.default_rng(seed)
  return {
    "image": jnp.asarray(rng.integers(256, size=(16, 8, 8, 1)), jnp.uint8),
    "label": jnp.asarray(rng.integers(classes, size=16), jnp.int32),
    "position": jnp.arange(16, dtype=jnp.int32),
  }


def leaves_equal(a, b) -> list[bool]:
  return [bool(np.array_equal(x, y)) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True)]


def test_the_joint_loss_is_the_sum_of_both_exits_the_extensions_over_hard_images(tiny):
  model = build(tiny)
  variables = init_variables(model, 0, tiny.dataset.image_shape, BLOCKS)
  settings = dataclasses.replace(tiny.stages.edge, augment=AugmentConfig())
  tx = make_optimizer(settings, 10)
  state = create_state(stages.JOINT, variables, tx)
  to_hard = np.array([-1, 0, -1, 1, 2, -1, 3, -1, 4, -1], np.int32)
  step = make_train_step(model, stages.JOINT, settings, tiny.dataset, tx, to_hard=to_hard)
  given = batch(0, 10)
  after, sums = step(state, given, stage_key(0, "edge"))
  images = normalise(given["image"], tiny.dataset.mean, tiny.dataset.std)
  train = stages.JOINT.trainable
  outputs, _ = model.apply(
    by_collection(variables), images, stages.JOINT.exits, train, mutable=["batch_stats"]
  )
  hard = to_hard[np.asarray(given["label"])]
  rows = [i for i in range(16) if hard[i] >= 0]
  assert 0 < len(rows) < 16
  main = cross_entropy(outputs.main, given["label"], 0.0)
  extension = cross_entropy(outputs.extension[np.array(rows)], jnp.asarray(hard[rows]), 0.0)
  expected = float(jnp.mean(main) + jnp.mean(extension))
  assert float(sums["loss"]) / 16 == pytest.approx(expected, rel=1e-5)
  assert float(sums["count"]) == float(sums["examples"]) == 16
  now = after.frozen | after.learned()
  assert set(now) == {"main", "adaptive", "extension"}
  assert not any(all(leaves_equal(variables[block], now[block])) for block in now)


@pytest.mark.parametrize("stage", [stages.MAIN, stages.EDGE, stages.CLOUD], ids=lambda s: s.name)
def test_a_stage_changes_its_own_blocks_and_what_else_it_needs_stays_bit_identical(tiny, stage):
  state, step, variables = start(tiny, stage)
  for number in range(3):
    state, sums = step(state, batch(number, 5), stage_key(0, stage.name))
    assert float(sums["count"]) == 16
  assert int(state.step) == 3
  after = state.frozen | state.learned()
  assert set(after) == ({"main", *stage.trainable} if stage is stages.EDGE else {stage.name})
  for block in after:
    same = leaves_equal(variables[block], after[block])
    # A convolution before batch norm may stay put on one axis, never a whole tensor.
    assert not any(same) if block in stage.trainable else all(same), block


def test_the_step_is_a_function_of_state_batch_and_key(tiny):
  results = []
  for key_seed in (0, 0, 1):
    state, step, _ = start(tiny, stages.MAIN)
    state, _ = step(state, batch(0, 10), stage_key(key_seed, "main"))
    results.append(state.params)
  assert all(leaves_equal(results[0], results[1]))
  assert not all(leaves_equal(results[0], results[2]))  # another crop


def test_the_step_reduces_the_loss(tiny):
  state, step, _ = start(tiny, stages.CLOUD)
  losses = []
  for _ in range(30):
    state, sums = step(state, batch(0, 10), stage_key(0, "cloud"))
    losses.append(float(sums["loss"] / sums["count"]))
  assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_the_formula(smoothing):
  logits = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
  labels = np.array([0, 1, 2, 3, 0, 1])
  log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  targets = (1 - smoothing) * np.eye(4)[labels] + smoothing / 4
  expected = -(targets * log_p).sum(-1)
  np.testing.assert_allclose(
    cross_entropy(jnp.asarray(logits), jnp.asarray(labels), smoothing), expected, rtol=1e-5
  )
