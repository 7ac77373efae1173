"""The stage `static`: a plain network that costs what the edge costs on average.

It is trained as a main block alone, by the same loop, under a configuration made from the run's:
`model.main` is widened, and the schedule of `stages.main` is stretched until it sees as many images
as the stages of the edge (main, edge and perhaps finetune) see together.
"""

import dataclasses
from typing import NamedTuple

import jax

from meanet_jax.config.networks import ModelConfig
from meanet_jax.config.schema import Config
from meanet_jax.config.stages import StageConfig
from meanet_jax.data.splits import Dataset
from meanet_jax.files import read_json
from meanet_jax.log import logger
from meanet_jax.models.costs import block_macs
from meanet_jax.models.meanet import MEANet
from meanet_jax.models.variables import Variables, abstract_variables
from meanet_jax.models.widening import widened_main
from meanet_jax.models.zoo import build
from meanet_jax.runs.checkpoints import complete_step
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.training.context import RunContext
from meanet_jax.training.distributed import broadcast_from_process_0
from meanet_jax.training.hard_classes import predicted_hard_share
from meanet_jax.training.parallel import AXIS
from meanet_jax.training.restore import last_step, read_label_map, unfinished
from meanet_jax.training.stage_checkpoint import read_stage
from meanet_jax.training.stage_images import count_training_images
from meanet_jax.training.stages import CLOUD, STATIC, Stage, gradient_stages


class StaticNetwork(NamedTuple):
  """The finished network of a run: a model whose main block it is, without a mapped axis."""

  config: Config
  model: MEANet
  variables: Variables

  @property
  def macs(self) -> int:
    """Multiply-accumulates for one image."""
    return block_macs(self.model, self.config.dataset.image_shape).main


def static_context(context: RunContext) -> RunContext:
  """The context in which the stage trains; the hard classes are selected.

  Args:
    context: of the run.
  """
  config = broadcast_from_process_0(
    lambda: static_config(context.config, context.dataset, context.run)
  )
  structure = config.model.main.structure
  macs = block_macs(build(config), config.dataset.image_shape).main
  logger.info(
    f"stage static: widths {structure.stem_width}, {structure.widths}: {macs:,} MACs an image, for "
    f"{context.config.baselines.static:g} x the edge's average"
  )
  return dataclasses.replace(context, config=config, model=build(config, AXIS))


def static_stage(config: Config) -> Stage:
  """The stage, with the teacher that main has."""
  return dataclasses.replace(STATIC, teacher=config.stages.main.distillation.weight > 0)


def static_config(config: Config, dataset: Dataset, run: RunDirectory) -> Config:
  """The configuration of the static network of a run whose hard classes are selected.

  The edge's average MACs are those of main and, for the share of the images that selected the hard
  classes for which main predicted one (the paper's rule), of adaptive and extension block.
  """
  costs = block_macs(build(config), config.dataset.image_shape)
  share = predicted_hard_share(read_json(run.hard_classes_path))
  edge = costs.main + share * costs.extension
  stages, images = config.stages, len(dataset.train)
  seen = sum(
    config.stage(stage.name).epochs * _images(stage, config, dataset, run)
    for stage in gradient_stages(config)
    if stage.name != CLOUD.name
  )
  main = stretched(stages.main, max(1, round(seen / images)))
  widened = widened_main(config, config.baselines.static * edge)
  # The other blocks are in no step; what main's features were joined with may not fit any more.
  model = dataclasses.replace(
    config.model, main=widened, adaptive=ModelConfig.adaptive, join="none", join_dropout=0.0
  )
  return dataclasses.replace(config, model=model, stages=dataclasses.replace(stages, main=main))


def stretched(recipe: StageConfig, epochs: int) -> StageConfig:
  """A recipe over another number of epochs: the steps of its schedule keep their places in it."""
  factor = epochs / recipe.epochs
  steps = sorted({max(1, round(epoch * factor)) for epoch in recipe.step_epochs})
  return dataclasses.replace(
    recipe,
    epochs=epochs,
    freeze=0,  # of pretrained weights, which no other width has
    head_epochs=0,
    step_epochs=tuple(steps),
    warmup_epochs=min(round(recipe.warmup_epochs * factor), epochs - 1),
  )


def load_static(config: Config, dataset: Dataset, run: RunDirectory) -> StaticNetwork:
  """The static network of a run.

  Raises:
    UserError: the stage has not finished.
  """
  config = static_config(config, dataset, run)
  model = build(config)
  step = complete_step(run.checkpoints_path(STATIC.name))
  if step is None or step != last_step(STATIC, config, dataset, run):
    raise unfinished(run, STATIC.name)
  abstract = abstract_variables(model, config.dataset.image_shape)
  variables = jax.device_get(read_stage(STATIC, config, abstract, run, step))
  return StaticNetwork(config, model, variables)


def _images(stage: Stage, config: Config, dataset: Dataset, run: RunDirectory) -> int:
  return count_training_images(stage, dataset, read_label_map(stage, config, run))
