"""Training one run: its stages in order, those that are finished left alone."""

from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Any

import jax

from meanet_jax.config.schema import Config
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.files import read_json, write_json
from meanet_jax.log import listed, logger
from meanet_jax.models.meanet import Exits
from meanet_jax.models.variables import Variables
from meanet_jax.runs.checkpoints import finished_step
from meanet_jax.runs.disk import full_disk_in_one_line
from meanet_jax.stopping import Stop, never
from meanet_jax.training.context import RunContext
from meanet_jax.training.distributed import all_succeed, broadcast_from_process_0
from meanet_jax.training.forward import ForwardPass
from meanet_jax.training.hard_classes import select
from meanet_jax.training.loop import stop_before
from meanet_jax.training.parallel import replicate
from meanet_jax.training.pretrained import initial_variables
from meanet_jax.training.restore import Learned, label_map, load_variables
from meanet_jax.training.run_numbers import run_numbers
from meanet_jax.training.run_stage import train_stage
from meanet_jax.training.stage_images import stage_images
from meanet_jax.training.stages import Stage, gradient_stages, num_steps
from meanet_jax.training.start import start
from meanet_jax.training.static import static_context, static_stage


def train(
  config: Config,
  workdir: str | Path,
  options: ReadOptions | None = None,
  stop: Stop = never,
  tensorboard: bool = False,
) -> None:
  """Runs the stages that `workdir` has not finished; called by all processes of a run together.

  Args:
    config: the experiment.
    workdir: made when missing; touched by the first process alone.
    options: where and how data are read.
    stop: asked after every step, and before every stage, for the signal to end; in all processes
      there is one at the same call.
    tensorboard: whether metrics are TensorBoard's events as well.

  Raises:
    UserError: a configuration that cannot be run, a workdir of another one, on other data or in
      use by another process, or a full disk.
    TrainingStoppedError: `stop` said so.
    TrainingDivergedError: a loss that is not finite.
  """
  with start(config, workdir, options, stop, tensorboard) as context:
    learned = _learned(context)
    found = None
    with full_disk_in_one_line(context.run.path):
      for stage in gradient_stages(context.config):
        if stage.needs_hard_classes and found is None:
          found = _hard_classes_stage(context, learned)
        _gradient_stage(stage, context, learned, found)
      if context.config.baselines.static:
        _static_stage(context, learned)
  logger.info(f"all stages finished; evaluate with: meanet eval --workdir {quote(str(workdir))}")


def _learned(context: RunContext) -> Learned:
  def read(stages: Sequence[Stage]) -> Variables:
    config, model, dataset, run = context.config, context.model, context.dataset, context.run
    return broadcast_from_process_0(
      lambda: load_variables(config, model, dataset, run, stages=stages)
    )

  return Learned(read)


def _gradient_stage(
  stage: Stage,
  context: RunContext,
  learned: Learned,
  found: dict[str, Any] | None,
) -> None:
  """Trains a stage that is not finished, from what the stages before it have learned.

  Args:
    stage, context: what learns, and of which run.
    learned: by the stages before; afterwards by this one too.
    found: what hard_classes.json holds, once it is there.
  """
  config, run, dataset = context.config, context.run, context.dataset
  settings = config.stage(stage.name)
  known = found if stage.needs_hard_classes else None
  to_hard = None if known is None else label_map(known, config.dataset.num_classes)
  images = all_succeed(lambda: stage_images(stage, dataset, to_hard))
  numbers = all_succeed(lambda: run_numbers(stage, config, dataset.train.labels, known))
  total = num_steps(settings, len(images.train))
  if broadcast_from_process_0(lambda: finished_step(run.checkpoints_path(stage.name))) == total:
    logger.info(f"stage {stage.name}: already finished ({total} steps)")
    learned.pass_finished(stage)
    return
  stop_before(stage, context.stop)
  logger.info(
    f"stage {stage.name}: {settings.epochs} epochs of {len(images.train)} images, "
    f"{jax.device_count()} device(s), {jax.process_count()} process(es), compiling"
  )
  learned.update(stage, train_stage(stage, context, learned(), images, numbers))


def _static_stage(context: RunContext, learned: Learned) -> None:
  """Trains the plain network that costs what the edge does on average."""
  beside = static_context(context)
  stage = static_stage(beside.config)

  def start_from(_: Sequence[Stage]) -> Variables:
    fresh = broadcast_from_process_0(
      lambda: jax.device_get(initial_variables(beside.config, beside.model, ("main",)))
    )
    return fresh | ({"cloud": learned()["cloud"]} if stage.teacher else {})

  _gradient_stage(stage, beside, Learned(start_from), None)


def _hard_classes_stage(context: RunContext, learned: Learned) -> dict[str, Any]:
  """Selects the hard classes of a run that has none yet; what hard_classes.json holds."""
  path = context.run.hard_classes_path
  if broadcast_from_process_0(path.exists):
    found = broadcast_from_process_0(lambda: read_json(path))
    logger.info(f"stage hard_classes: already finished ({listed(found['names'])})")
  else:
    config, dataset = context.config, context.dataset
    batch_size = config.evaluation.batch_size
    forward = ForwardPass(context.model, Exits.MAIN, config.dataset, batch_size)
    logits = forward(replicate(learned()), dataset.validation).main
    assert logits is not None
    selected = all_succeed(lambda: select(config, dataset, logits))
    broadcast_from_process_0(lambda: write_json(path, selected))
    found = broadcast_from_process_0(lambda: read_json(path))
  return found
