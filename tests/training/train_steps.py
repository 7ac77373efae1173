"""Takes mapped steps of the edge stage and saves what they learned: see test_parallel.py.

Arguments: the file, the configuration's batch norm, the number of steps.
"""

import sys

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from meanet_jax.config.parsing import resolve
from meanet_jax.data.batches import Order
from meanet_jax.data.sources import load
from meanet_jax.models.meanet import BLOCKS
from meanet_jax.models.variables import init_variables
from meanet_jax.models.zoo import build
from meanet_jax.training.optimizers import make_optimizer
from meanet_jax.training.parallel import (
  ACROSS_DEVICES,
  AXIS,
  ahead,
  map_train_step,
  replicate,
)
from meanet_jax.training.stages import EDGE
from meanet_jax.training.state import create_state
from meanet_jax.training.steps import Recipe, make_train_step, stage_key
from tests.experiments import tiny_config


def main(path: str, batch_norm: str, steps: str) -> None:
  fields = tiny_config()
  fields.model.batch_norm = batch_norm
  config = resolve(fields)
  model = build(config, AXIS)
  train = load(config.dataset).train
  train = train.select(np.arange(len(train)), train.labels % 5)
  batches = train.training_batches(Order(len(train), 0, "edge", 64), config.stages.edge.augment)
  tx = make_optimizer(config.stages.edge, 10)
  variables = init_variables(model, 0, config.dataset.image_shape, BLOCKS)
  state = replicate(create_state(EDGE, variables, tx))
  step = make_train_step(
    model, EDGE, Recipe(config.stages.edge, tx), config.dataset, ACROSS_DEVICES
  )
  traces = 0

  def counted(*args):
    nonlocal traces
    traces += 1
    return step(*args)

  mapped = map_train_step(counted)
  store, key = replicate(batches.resident()), replicate(stage_key(0, "edge"))
  for batch in ahead(batches.stream(0, int(steps))):
    before = jax.tree.leaves(state)
    state, _ = mapped(state, store, batch, key)
    assert all(leaf.is_deleted() for leaf in before)  # their buffers are used again
  learned = flatten_dict(jax.device_get(state.learned()), sep="/")
  np.savez(path, devices=jax.local_device_count(), traces=traces, **learned)


if __name__ == "__main__":
  main(*sys.argv[1:])
