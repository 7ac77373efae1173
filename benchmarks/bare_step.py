"""Calls of a stage's compiled step on one batch that lies on the device, and nothing else."""

import time
from typing import Any, NamedTuple

import jax

from meanet_jax.config.schema import Config
from meanet_jax.data.batches import Order
from meanet_jax.data.splits import ArraySplit
from meanet_jax.models.meanet import BLOCKS
from meanet_jax.models.variables import init_variables
from meanet_jax.models.zoo import build
from meanet_jax.training import stages
from meanet_jax.training.optimizers import make_optimizer
from meanet_jax.training.parallel import ACROSS_DEVICES, AXIS, ahead, map_train_step, replicate
from meanet_jax.training.state import create_state
from meanet_jax.training.steps import Recipe, make_train_step, stage_key


class Case(NamedTuple):
  """name: in the table. config: of the experiment. split: what is learned from."""

  name: str
  config: Config
  split: ArraySplit


class BareStep:
  """The step of a stage, compiled, with its state and one batch.

  flops: of an image, by XLA's count. compiled: the program. compile_seconds: with tracing.
  """

  def __init__(self, case: Case, stage: stages.Stage):
    config, settings = case.config, case.config.stage(stage.name)
    model = build(config, AXIS)
    order = Order(len(case.split), config.seed, stage.name, settings.batch_size)
    batches = case.split.training_batches(order, settings.augment)
    tx = make_optimizer(settings, order.steps_per_epoch)
    needed = tuple(block for block in BLOCKS if block in stage.blocks)
    variables = init_variables(model, config.seed, config.dataset.image_shape, needed)
    step = make_train_step(model, stage, Recipe(settings, tx), config.dataset, ACROSS_DEVICES)
    mapped: Any = map_train_step(step)  # of `jax.pmap`, whose result has `lower`
    self._state = replicate(create_state(stage, variables, tx))
    self._rest = (
      replicate(batches.resident()),
      next(ahead(batches.stream(0, 1))),
      replicate(stage_key(config.seed, stage.name)),
    )
    begun = time.perf_counter()
    self.compiled = mapped.lower(self._state, *self._rest).compile()
    self.compile_seconds = time.perf_counter() - begun
    self.batch_size = settings.batch_size
    self.flops = float(self.compiled.cost_analysis()["flops"]) / settings.batch_size

  def seconds(self, steps: int) -> float:
    """Seconds per step."""
    begun = time.perf_counter()
    for _ in range(steps):
      self._state, _ = self.compiled(self._state, *self._rest)
    jax.block_until_ready(self._state)
    return (time.perf_counter() - begun) / steps
