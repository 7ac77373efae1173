"""What a run has learned, read again from checkpoints that nothing was trained for."""

import dataclasses
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from meanet_jax.config.schema import Config
from meanet_jax.data.sources import load
from meanet_jax.files import write_json
from meanet_jax.models.variables import Variables, abstract_variables
from meanet_jax.models.zoo import build
from meanet_jax.runs.checkpoints import open_checkpoints
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.training.context import RunContext
from meanet_jax.training.optimizers import make_optimizer
from meanet_jax.training.pretrained import initial_variables
from meanet_jax.training.restore import last_step, load_variables
from meanet_jax.training.stages import Stage, gradient_stages
from meanet_jax.training.state import create_state, saved
from meanet_jax.training.train import train


def write_stage(stage: Stage, config: Config, run: RunDirectory, number: int) -> Variables:
  """Finishes a stage with one number in every variable; those of the blocks that it trains."""
  abstract = abstract_variables(build(config), config.dataset.image_shape)
  filled = jax.tree.map(lambda x: np.full(x.shape, number, x.dtype), abstract)
  state = create_state(stage, filled, make_optimizer(config.stage(stage.name), 1))
  step = last_step(stage, config, load(config.dataset), run)
  with open_checkpoints(run.checkpoints_path(stage.name), 1) as checkpoints:
    checkpoints.save(step, jax.device_get(saved(state)))
  return {block: filled[block] for block in stage.trainable}


def numbered_run(config: Config, path: Path) -> tuple[RunDirectory, dict[str, int]]:
  """A finished run, in the last checkpoint of whose stages every number is that of the stage."""
  run = RunDirectory.create(path, config)
  hard = list(range(config.num_hard))
  write_json(run.hard_classes_path, {"classes": hard, "names": list(map(str, hard))})
  number = {stage.name: place for place, stage in enumerate(gradient_stages(config), 1)}
  for stage in gradient_stages(config):
    write_stage(stage, config, run, number[stage.name])
  return run, number


def values(variables: Variables) -> dict[str, set[float]]:
  """All numbers of each block."""
  return {
    block: {float(x) for leaf in jax.tree.leaves(of) for x in np.asarray(leaf).flat}
    for block, of in variables.items()
  }


@pytest.mark.parametrize(
  ("training", "main"), [("blockwise", "main"), ("joint", "edge"), ("mixed", "finetune")]
)
def test_the_main_block_is_that_of_the_last_stage_that_trained_it(tiny, tmp_path, training, main):
  config = dataclasses.replace(tiny, stages=dataclasses.replace(tiny.stages, training=training))
  run, number = numbered_run(config, tmp_path / "run")
  found = load_variables(config, build(config), load(config.dataset), run)
  edge = "finetune" if training == "mixed" else "edge"
  expected = {"main": main, "adaptive": edge, "extension": edge, "cloud": "cloud"}
  assert values(found) == {block: {number[stage]} for block, stage in expected.items()}


@pytest.mark.parametrize("training", ["joint", "mixed"])
def test_a_stage_that_starts_over_begins_from_those_before_it(
  tiny, tmp_path, monkeypatch, training
):
  """Whatever later ones have made of it."""
  config = dataclasses.replace(tiny, stages=dataclasses.replace(tiny.stages, training=training))
  run, number = numbered_run(config, tmp_path / "run")
  lost = ["main"] if training == "joint" else ["main", "finetune"]
  for name in lost:
    shutil.rmtree(run.checkpoints_path(name))
  begun = {}

  def trained(stage: Stage, _: RunContext, variables: Variables, *__) -> Variables:
    begun[stage.name] = values(variables)
    return write_stage(stage, config, run, 7)

  monkeypatch.setattr("meanet_jax.training.train.train_stage", trained)
  train(config, run.path)
  model = build(config)
  fresh = values(initial_variables(config, model, ("main", "adaptive", "extension", "cloud")))
  assert list(begun) == lost
  assert begun["main"] == fresh
  if training == "mixed":
    edge = {number["edge"]}
    expected = {"main": {7}, "adaptive": edge, "extension": edge}
    assert begun["finetune"] == fresh | expected
