"""Takes a mapped step of the stage finetune with every lever: see test_levers.py.

Argument: the file for what is learned.
"""

import dataclasses
import sys

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from meanet_jax.config.parsing import resolve
from meanet_jax.config.stages import DistillationConfig
from meanet_jax.training.parallel import ACROSS_DEVICES, map_train_step, replicate, shard
from meanet_jax.training.steps import stage_key
from tests.experiments import tiny_config
from tests.training.linear_meanet import PLAIN, batch, experiment, stage_of, start


def main(path: str) -> None:
  settings = dataclasses.replace(
    PLAIN,
    distillation=DistillationConfig(0.75, 3.0),
    class_weights="balanced",
    easy_weight=0.2,
    weigh_exits_by_share=True,
  )
  config = experiment(resolve(tiny_config()), "all", finetune=settings, training="mixed")
  state, step = start(config, "finetune", ACROSS_DEVICES)
  data, key = shard(batch(config, stage_of(config, "finetune"))), stage_key(0, "finetune")
  after, sums = map_train_step(step)(replicate(state), {}, data, replicate(key))
  learned = flatten_dict(jax.device_get(after.learned()), sep="/")
  np.savez(path, devices=jax.local_device_count(), loss=sums["loss"], **learned)


if __name__ == "__main__":
  main(*sys.argv[1:])
