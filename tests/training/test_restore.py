"""What a run has learned, read again from checkpoints that nothing was trained for."""

import dataclasses

import jax
import numpy as np
import pytest

from meanet_jax.data.sources import load
from meanet_jax.models.variables import abstract_variables
from meanet_jax.models.zoo import build
from meanet_jax.runs.checkpoints import open_checkpoints
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.runs.files import write_json
from meanet_jax.training.optimizers import make_optimizer
from meanet_jax.training.restore import last_step, load_variables
from meanet_jax.training.stages import gradient_stages
from meanet_jax.training.state import create_state, saved


@pytest.mark.parametrize(
  ("training", "main"), [("blockwise", "main"), ("joint", "edge"), ("mixed", "finetune")]
)
def test_the_main_block_is_that_of_the_last_stage_that_trained_it(tiny, tmp_path, training, main):
  """Every stage's checkpoint holds its own number in every variable."""
  config = dataclasses.replace(tiny, stages=dataclasses.replace(tiny.stages, training=training))
  dataset, model = load(config.dataset), build(config)
  run = RunDirectory.create(tmp_path / "run", config)
  write_json(run.hard_classes_path, {"classes": list(range(config.num_hard))})
  abstract = abstract_variables(model, config.dataset.image_shape)
  number = {stage.name: place for place, stage in enumerate(gradient_stages(config), 1)}
  for stage in gradient_stages(config):
    filled = jax.tree.map(lambda x, n=number[stage.name]: np.full(x.shape, n, x.dtype), abstract)
    state = create_state(stage, filled, make_optimizer(config.stage(stage.name), 1))
    step = last_step(stage, config, dataset, run)
    with open_checkpoints(run.checkpoints_path(stage.name), 1) as checkpoints:
      checkpoints.save(step, jax.device_get(saved(state)))
  found = load_variables(config, model, dataset, run)
  values = {
    block: {x for leaf in jax.tree.leaves(of) for x in leaf.flat} for block, of in found.items()
  }
  edge = "finetune" if training == "mixed" else "edge"
  expected = {"main": main, "adaptive": edge, "extension": edge, "cloud": "cloud"}
  assert values == {block: {number[stage]} for block, stage in expected.items()}
