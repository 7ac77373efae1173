import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meanet_jax.models.meanet import BLOCKS
from meanet_jax.models.variables import init_variables
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


@pytest.mark.parametrize("stage", [stages.MAIN, stages.EDGE, stages.CLOUD], ids=lambda s: s.name)
def test_a_stage_changes_its_own_blocks_and_leaves_every_other_bit_identical(tiny, stage):
  state, step, variables = start(tiny, stage)
  for number in range(3):
    state, sums = step(state, batch(number, 5), stage_key(0, stage.name))
    assert float(sums["count"]) == 16
  assert int(state.step) == 3
  after = state.frozen | state.learned()
  for block in BLOCKS:
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
