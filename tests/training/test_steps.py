import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meanet_jax.config.stages import AugmentConfig, StageConfig
from meanet_jax.data.augment import normalise
from meanet_jax.data.batches import Batch
from meanet_jax.models.layers import Dropout
from meanet_jax.models.meanet import BLOCKS
from meanet_jax.models.variables import Variables, by_collection, init_variables
from meanet_jax.models.zoo import build
from meanet_jax.training import stages
from meanet_jax.training.hyperparameters import Hyperparameters
from meanet_jax.training.losses import cross_entropy
from meanet_jax.training.optimizers import make_optimizer
from meanet_jax.training.state import TrainState, create_state
from meanet_jax.training.steps import Recipe, Sums, make_train_step, stage_key
from tests.training import linear_meanet as linear


def start(tiny, stage):
  model = build(tiny)
  variables = init_variables(model, 0, tiny.dataset.image_shape, BLOCKS)
  settings = tiny.stage(stage.name)
  tx = make_optimizer(settings, 10)
  state = create_state(stage, variables, tx)
  return (
    state,
    jax.jit(make_train_step(model, stage, Recipe(settings, tx), tiny.dataset)),
    variables,
  )


def batch(seed: int, classes: int):
  rng = np.random.default_rng(seed)
  return {
    "image": jnp.asarray(rng.integers(256, size=(16, 8, 8, 1)), jnp.uint8),
    "label": jnp.asarray(rng.integers(classes, size=16), jnp.int32),
    "position": jnp.arange(16, dtype=jnp.int32),
  }


def leaves_equal(a, b) -> list[bool]:
  return [bool(np.array_equal(x, y)) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True)]


TO_HARD = np.array([-1, 0, -1, 1, 2, -1, 3, -1, 4, -1], np.int32)


class Joint(NamedTuple):
  """A step of all three blocks from `variables` on, of SGD without decay.

  weighed: its state and sums under loss weights that are arguments, as in a grid. plain: without.
  """

  variables: Variables
  batch: Batch
  weighed: Callable[[float, float], tuple[TrainState, Sums]]
  plain: tuple[TrainState, Sums]


@pytest.fixture(scope="module")
def joint(tiny) -> Joint:
  model = build(tiny)
  variables = init_variables(model, 0, tiny.dataset.image_shape, BLOCKS)
  settings = dataclasses.replace(tiny.stages.edge, augment=AugmentConfig(), weight_decay=0.0)
  tx = make_optimizer(settings, 10)
  state, given = create_state(stages.JOINT, variables, tx), batch(0, 10)

  @jax.jit
  def step(weights):
    own = make_train_step(
      model,
      stages.JOINT,
      Recipe(settings, tx, Hyperparameters.of(settings)._replace(loss_weights=weights)),
      tiny.dataset,
      to_hard=TO_HARD,
    )
    return own(state, given, stage_key(0, "edge"))

  def weighed(*weights):
    return step(tuple(jnp.asarray(weight, jnp.float32) for weight in weights))

  return Joint(variables, given, weighed, step(()))


@pytest.mark.parametrize("weights", [None, (1.0, 1.0), (0.5, 3.0)], ids=str)
def test_the_joint_loss_is_the_weighed_sum_of_both_exits_the_extensions_over_hard_images(
  tiny, joint, weights
):
  after, sums = joint.plain if weights is None else joint.weighed(*weights)
  images = normalise(joint.batch["image"], tiny.dataset.mean, tiny.dataset.std)
  outputs, _ = build(tiny).apply(
    by_collection(joint.variables),
    images,
    stages.JOINT.exits,
    stages.JOINT.trainable,
    mutable=["batch_stats"],
  )
  hard = TO_HARD[np.asarray(joint.batch["label"])]
  rows = [i for i in range(16) if hard[i] >= 0]
  assert 0 < len(rows) < 16
  main = cross_entropy(outputs.main, joint.batch["label"], 0.0)
  extension = cross_entropy(outputs.extension[np.array(rows)], jnp.asarray(hard[rows]), 0.0)
  of_main, of_extension = weights or (1.0, 1.0)
  expected = float(of_main * jnp.mean(main) + of_extension * jnp.mean(extension))
  assert float(sums["loss"]) / 16 == pytest.approx(expected, rel=1e-5)
  assert float(sums["count"]) == float(sums["examples"]) == 16
  now = after.frozen | after.learned()
  assert set(now) == {"main", "adaptive", "extension"}
  assert not any(all(leaves_equal(joint.variables[block], now[block])) for block in now)


def test_a_loss_weight_scales_what_its_exit_teaches(joint):
  """The first step of SGD moves parameters by a rate times the gradient."""

  def moved(after):
    return {
      block: jax.tree.map(lambda a, b: a - b, after.params[block], joint.variables[block]["params"])
      for block in after.params
    }

  whole, half, none = (moved(joint.weighed(1.0, weight)[0]) for weight in (1.0, 0.5, 0.0))
  # Adaptive block and extension learn from the extension's exit alone, main from both.
  for block in ("adaptive", "extension"):
    assert not any(np.any(x) for x in jax.tree.leaves(none[block]))
  for block in whole:
    for one, two, zero in zip(
      *(jax.tree.leaves(x[block]) for x in (whole, half, none)), strict=True
    ):
      # A few roundings of parameters of about 1.
      np.testing.assert_allclose(2 * two, one + zero, rtol=0, atol=1e-6, err_msg=block)
      assert np.abs(one).max() > 1e-4


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


def test_every_step_augments_anew(tiny):
  """At a constant rate two steps from one state differ in what they draw alone."""
  config = linear.experiment(tiny)
  state, step = linear.start(config, "main")
  data = linear.batch(config, linear.stage_of(config, "main"))
  step, later = jax.jit(step), state.replace(step=state.step + 1)
  first, again, next_one = (step(s, data, stage_key(0, "main"))[0] for s in (state, state, later))
  assert all(leaves_equal(first.params, again.params))
  assert not any(leaves_equal(first.params, next_one.params))


class Dropping(linear.Linear):
  """Half of the pixels are dropped in front of the dense layer."""

  def setup(self):
    super().setup()
    self.half = Dropout(0.5)

  def classify(self, features, train):
    return super().classify(self.half(features, train), train)


def kept_pixels(tiny, settings: StageConfig, data: Batch) -> Callable[[int], np.ndarray]:
  """From steps taken to the pixels whose weights the next step at rate 1 moves: bool [64]."""
  config = linear.experiment(tiny, main=settings)
  model, variables = linear.linear_meanet(config)
  model = model.clone(main=Dropping(config.model.main.structure, 10))
  stage, tx = linear.stage_of(config, "main"), make_optimizer(settings, 10)
  state = create_state(stage, variables, tx)
  step = jax.jit(make_train_step(model, stage, Recipe(settings, tx), tiny.dataset))

  def kept(taken: int) -> np.ndarray:
    after, _ = step(state.replace(step=state.step + taken), data, stage_key(0, "main"))
    kernels = (x.params["main"]["dense"]["kernel"] for x in (state, after))
    return np.any(np.not_equal(*kernels), axis=1)

  return kept


def test_every_step_and_micro_batch_drops_other_features(tiny):
  """A pixel that is dropped from the only image of a batch moves no weight.

  Two micro-batches of the same image leave a quarter of its 64 pixels out, not half.
  """
  settings = dataclasses.replace(linear.PLAIN, augment=AugmentConfig())
  image, label = jnp.full((2, 8, 8, 1), 255, jnp.uint8), jnp.zeros(2, jnp.int32)
  two = {"image": image, "label": label, "position": jnp.arange(2, dtype=jnp.int32)}
  kept = kept_pixels(tiny, settings, {name: x[:1] for name, x in two.items()})
  first = kept(0)
  assert 16 < first.sum() < 48
  assert (kept(1) != first).sum() > 16
  either = kept_pixels(tiny, dataclasses.replace(settings, accumulate=2), two)(0)
  assert not (first & ~either).any()
  assert either.sum() > first.sum() + 4
