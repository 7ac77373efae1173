"""Twenty training steps of every stage on digits: the parameters before and after.

Command: python -m benchmarks.accelerator.twenty_steps FILE.npz; a process with JAX_PLATFORMS=cpu
makes the reference so.
"""

import dataclasses
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from configs import digits
from meanet_jax.config.parsing import resolve
from meanet_jax.data.batches import Order
from meanet_jax.data.sources import load
from meanet_jax.data.splits import ArraySplit
from meanet_jax.models.meanet import BLOCKS
from meanet_jax.models.variables import abstract_variables, init_variables
from meanet_jax.models.zoo import build
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.training import stages
from meanet_jax.training.optimizers import make_optimizer
from meanet_jax.training.state import create_state
from meanet_jax.training.steps import Recipe, make_train_step, stage_key

STEPS = 20
# At the configured rate the cloud's first steps are chaotic: rounding alone moves its parameters by
# a tenth of their distance.
RATE = 2e-4
STAGES = {stage.name: stage for stage in (stages.MAIN, stages.EDGE, stages.CLOUD)}
Arrays = dict[str, np.ndarray]


def fresh() -> Arrays:
  """The variables that every stage starts from, by path."""
  config = resolve(digits.get_config())
  return _flat(init_variables(build(config), config.seed, config.dataset.image_shape, BLOCKS))


def learned(name: str, start: Arrays) -> Arrays:
  """Parameters and batch statistics of a stage's blocks after `STEPS` steps, by path.

  Args:
    name: of the stage. The hard classes of the stage `edge` are the first ones.
    start: `fresh`, perhaps of another device.
  """
  config, stage = resolve(digits.get_config()), STAGES[name]
  settings, model = config.stage(name), build(config)
  settings = dataclasses.replace(settings, learning_rate=RATE, schedule="constant", warmup_epochs=0)
  split = load(config.dataset).train
  assert isinstance(split, ArraySplit)
  if stage.images == "hard":
    to_hard = HardClasses(np.arange(config.num_hard), config.dataset.num_classes).label_map
    chosen = np.flatnonzero(to_hard[split.labels] >= 0)
    split = split.select(chosen, to_hard[split.labels[chosen]])
  order = Order(len(split), config.seed, name, settings.batch_size)
  tx = make_optimizer(settings, order.steps_per_epoch)
  variables = _like(abstract_variables(model, config.dataset.image_shape), start)
  state = create_state(stage, {b: v for b, v in variables.items() if b in stage.blocks}, tx)
  step: Callable[..., Any] = jax.jit(
    make_train_step(model, stage, Recipe(settings, tx), config.dataset)
  )
  for number in range(STEPS):
    index, places = order(number)
    batch = {
      "image": split.images[index],
      "label": split.labels[index].astype(np.int32),
      "position": places,
    }
    state, _ = step(state, batch, stage_key(config.seed, name))
  return _flat(state.newest())


def _flat(tree: Any) -> Arrays:
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def _like(tree: Any, arrays: Arrays) -> Any:
  return jax.tree_util.tree_map_with_path(lambda path, _: arrays[jax.tree_util.keystr(path)], tree)


def main(path: str) -> None:
  """Writes what every stage starts from and learns."""
  start = fresh()
  arrays = {f"fresh {name}": array for name, array in start.items()}
  for stage in STAGES:
    arrays |= {f"{stage} {name}": array for name, array in learned(stage, start).items()}
  np.savez(path, **arrays)


if __name__ == "__main__":
  main(sys.argv[1])
