"""Parts of a network that do not learn, learn slower, or learn later."""

import dataclasses
import signal
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meanet_jax.config.parsing import resolve
from meanet_jax.config.schema import Config
from meanet_jax.config.stages import StageConfig
from meanet_jax.data.sources import load
from meanet_jax.errors import TrainingStoppedError, UserError
from meanet_jax.models.meanet import Exits
from meanet_jax.models.variables import by_collection, init_variables
from meanet_jax.models.zoo import build
from meanet_jax.runs.checkpoints import finished_step, read_arrays
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.training.context import RunContext
from meanet_jax.training.optimizers import make_optimizer
from meanet_jax.training.parallel import AXIS
from meanet_jax.training.parts import check_parts
from meanet_jax.training.run_stage import train_stage
from meanet_jax.training.stage_images import stage_images
from meanet_jax.training.stages import MAIN
from tests.experiments import tiny_config

BASE = StageConfig(epochs=4, schedule="constant", weight_decay=0.1)
OPTIMIZERS = ("sgd", "adamw", "lamb")
PARAMS: Any = {
  "main": {
    "trunk": {
      "stem": {"conv": {"kernel": jnp.array([1.0, -2.0])}},
      "stage1_block1": {"conv1": {"kernel": jnp.array([0.5, 3.0])}},
      "stage2_block1": {"conv1": {"kernel": jnp.array([2.0, 1.0])}},
    },
    "head": {"dense": {"kernel": jnp.array([1.0, 1.5])}},
  }
}


def moved(config: StageConfig, steps: int) -> list[dict[str, np.ndarray]]:
  """What each of so many steps adds to the parameters, by part, all gradients the same."""
  tx: Any = make_optimizer(config, steps_per_epoch=3)
  state, params, found = tx.init(PARAMS), PARAMS, []
  gradients = jax.tree.map(lambda x: 0.3 * jnp.ones_like(x), params)
  for _ in range(steps):
    updates, state = tx.update(gradients, state, params)
    params = jax.tree.map(jnp.add, params, updates)
    trunk, head = updates["main"]["trunk"], updates["main"]["head"]
    parts = {name: part for name, (part,) in ((n, p.values()) for n, p in trunk.items())}
    parts |= {"head": head["dense"]}
    found.append({name: np.asarray(part["kernel"]) for name, part in parts.items()})
  return found


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_frozen_stages_get_no_update_not_even_decay(optimizer):
  config = dataclasses.replace(BASE, optimizer=optimizer)
  frozen = moved(dataclasses.replace(config, freeze=1), 2)
  for own, plain in zip(frozen, moved(config, 2), strict=True):
    for part in ("stem", "stage1_block1"):
      np.testing.assert_array_equal(own[part], 0)
      assert (plain[part] != 0).all()
    for part in ("stage2_block1", "head"):
      np.testing.assert_array_equal(own[part], plain[part])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_factors_scale_updates_by_the_most_exact_name(optimizer):
  config = dataclasses.replace(BASE, optimizer=optimizer)
  factors = ("main=0.5", "main.trunk=0.25", "main.trunk.stem=0")
  (own,) = moved(dataclasses.replace(config, learning_rate_factors=factors), 1)
  (plain,) = moved(config, 1)
  expected = {"stem": 0.0, "stage1_block1": 0.25, "stage2_block1": 0.25, "head": 0.5}
  for part, factor in expected.items():
    np.testing.assert_allclose(own[part], factor * plain[part], rtol=1e-6)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_head_learns_alone_for_its_epochs_of_three_steps(optimizer):
  config = dataclasses.replace(BASE, optimizer=optimizer, head_epochs=1)
  own = moved(config, 4)
  for step in own[:3]:
    assert all((step[part] == 0).all() == (part != "head") for part in step)
  assert all((update != 0).all() for update in own[3].values())


def test_no_momentum_gathers_while_the_head_learns_alone():
  held, plain = moved(dataclasses.replace(BASE, head_epochs=1), 4), moved(BASE, 1)
  np.testing.assert_allclose(held[3]["stem"], plain[0]["stem"], rtol=1e-6)


def test_nothing_configured_leaves_the_optimisers_state_as_it_was():
  for optimizer in OPTIMIZERS:
    config = dataclasses.replace(BASE, optimizer=optimizer)
    states = [
      make_optimizer(c, 3).init(PARAMS) for c in (config, dataclasses.replace(config, freeze=0))
    ]
    assert jax.tree.structure(states[0]) == jax.tree.structure(states[1])
    assert "Held" not in str(jax.tree.structure(states[0]))


def two_stages(**changes) -> Config:
  """The tiny experiment with a second stage in its main block."""
  config = tiny_config()
  main = config.model.main.structure
  main.depths, main.widths, main.strides = (1, 1), (4, 4), (2, 1)
  config.stages.main.update(changes)
  return resolve(config)


def test_frozen_stages_have_no_gradient_and_batch_norms_in_evaluation_mode():
  config = two_stages(freeze=1)
  model = build(config)
  variables = by_collection(init_variables(model, 0, config.dataset.image_shape, ("main",)))
  images = jnp.asarray(np.random.default_rng(0).normal(size=(4, 8, 8, 1)), jnp.float32)

  @jax.jit
  def gradients(params):
    def loss(params):
      outputs, updates = model.apply(
        variables | {"params": params}, images, Exits.MAIN, ("main",), mutable=["batch_stats"]
      )
      return jnp.sum(outputs.main**2), updates["batch_stats"]

    return jax.grad(loss, has_aux=True)(params)

  found, statistics = gradients(variables["params"])
  before = variables["batch_stats"]["main"]["trunk"]
  for name, part in found["main"]["trunk"].items():
    frozen = name == "stem" or name.startswith("stage1")
    assert all((x == 0).all() == frozen for x in jax.tree.leaves(part)), name
    pairs = zip(
      *map(jax.tree.leaves, (statistics["main"]["trunk"][name], before[name])), strict=True
    )
    assert all((a == b).all() == frozen for a, b in pairs), name
  assert all((x != 0).any() for x in jax.tree.leaves(found["main"]["head"]))


def trained(config: Config, path, steps: int | None = None) -> dict[str, np.ndarray]:
  """The newest checkpoint of the stage main, begun again where an earlier call stopped."""
  taken = 0

  def stop():
    nonlocal taken
    taken += 1
    return signal.SIGTERM if taken == steps else None

  model, dataset = build(config, AXIS), load(config.dataset)
  run = RunDirectory.create(path, config)
  variables = jax.device_get(
    init_variables(build(config), config.seed, config.dataset.image_shape, ("main",))
  )
  try:
    context = RunContext(config, model, dataset, run, stop)
    train_stage(MAIN, context, variables, stage_images(MAIN, dataset, None))
  except TrainingStoppedError:
    assert steps is not None
  checkpoints = run.checkpoints_path("main")
  return read_arrays(checkpoints / str(finished_step(checkpoints)))


def test_a_stopped_stage_with_parts_goes_on_to_the_same_bits(tmp_path):
  config = two_stages(
    freeze=1, head_epochs=1, learning_rate_factors=("main.trunk=0.1",), epochs=2, optimizer="adamw"
  )
  whole = trained(config, tmp_path / "whole")
  trained(config, tmp_path / "stopped", 4)  # while the head learns alone
  again = trained(config, tmp_path / "stopped")
  assert whole.keys() == again.keys()
  for name in whole:
    np.testing.assert_array_equal(whole[name], again[name], err_msg=name)


@pytest.mark.parametrize(
  ("stage", "changes", "words"),
  [
    ("main", {"learning_rate_factors": ("main.trunk",)}, "accepted: NAME=FACTOR"),
    ("main", {"learning_rate_factors": ("main=-1",)}, "accepted: NAME=FACTOR"),
    ("main", {"learning_rate_factors": ("main=nan",)}, "accepted: NAME=FACTOR"),
    ("main", {"learning_rate_factors": ("main=1", "main=2")}, "each name once"),
    ("main", {"learning_rate_factors": ("cloud=1",)}, "'cloud', which is no part"),
    ("main", {"learning_rate_factors": ("main.trunk.stage9=1",)}, "main.trunk.stage1_block1"),
    ("edge", {"learning_rate_factors": ("main=1",)}, "accepted: adaptive, extension"),
    ("edge", {"freeze": 1}, "stages.edge.freeze is 1; accepted: 0"),
    ("edge", {"head_epochs": 1}, "stages.edge.head_epochs is 1; accepted: 0"),
    ("cloud", {"head_epochs": 2}, "fewer than the stage's 2 epochs"),
    ("cloud", {"freeze": 2}, "stages.cloud.freeze is 2; accepted: at most 1, the stages of"),
  ],
)
def test_parts_that_are_not_there_are_refused(stage, changes, words):
  config = tiny_config()
  getattr(config.stages, stage).update(changes)

  def check() -> None:
    resolved = resolve(config)
    check_parts(resolved, build(resolved))

  with pytest.raises(UserError) as caught:
    check()
  assert words in str(caught.value)
  assert "\n" not in str(caught.value)


def test_parts_are_checked_in_a_stage_without_steps_too():
  config = tiny_config()
  config.model.main.pretrained, config.stages.main.epochs = "a.pth", 0
  config.stages.main.learning_rate_factors = ("main.trunk",)
  with pytest.raises(UserError, match="accepted: NAME=FACTOR"):
    resolve(config)


@pytest.mark.parametrize("epochs", [0, 2])
@pytest.mark.parametrize("training", ["joint", "mixed"])
def test_frozen_stages_and_a_stage_that_trains_all_of_main_are_refused(training, epochs):
  config = tiny_config()
  config.model.main.pretrained, config.stages.main.epochs = "a.pth", epochs
  config.stages.training, config.stages.main.freeze = training, 1
  with pytest.raises(UserError, match=r"stages\.main\.freeze is 1 and stages\.training"):
    resolve(config)
