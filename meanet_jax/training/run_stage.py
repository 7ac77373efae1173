"""A stage of an ordinary run: one step mapped over the devices of all processes."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Generator
from typing import Any

import jax
import numpy as np

from meanet_jax import log
from meanet_jax.data.batches import Batch, Order, Part
from meanet_jax.data.splits import Split
from meanet_jax.errors import TrainingDivergedError
from meanet_jax.log import logger
from meanet_jax.models.variables import Variables
from meanet_jax.runs.stage_files import StageFiles, closing_after_errors
from meanet_jax.training.context import RunContext
from meanet_jax.training.distributed import all_succeed, broadcast_from_process_0, is_process_0
from meanet_jax.training.forward import ForwardPass
from meanet_jax.training.hyperparameters import Hyperparameters
from meanet_jax.training.loop import take_steps
from meanet_jax.training.losses import exit_logits
from meanet_jax.training.optimizers import make_optimizer
from meanet_jax.training.parallel import (
  ACROSS_DEVICES,
  ahead,
  check_batch_size,
  map_train_step,
  replicate,
)
from meanet_jax.training.stage_images import StageImages
from meanet_jax.training.stage_run import StageRun, Tree, files_on_disk, open_stage_run
from meanet_jax.training.stages import Stage
from meanet_jax.training.state import TrainState, saved
from meanet_jax.training.steps import Recipe, TrainStep, make_train_step, stage_key

PyTree = Any


def train_stage(
  stage: Stage,
  context: RunContext,
  variables: Variables,
  images: StageImages,
  numbers: Hyperparameters | None = None,
) -> Variables:
  """Trains a stage to its end, from its newest checkpoint if there is one.

  Args:
    stage: what learns, from what.
    context: of the run, its model built with the mapped axis.
    variables: of every block, on the host; those of trainable blocks are the starting point.
    images: the stage's own.
    numbers: of its loss, `run_numbers`; None for the configuration's.

  Returns:
    The learned variables of the stage's blocks, on the host.

  Raises:
    TrainingDivergedError: a loss, or a state to be saved, that is not finite.
    TrainingStoppedError: the context's `stop` said so; a checkpoint holds every step taken.
    UserError: a batch that does not fit the devices or the images.
  """
  settings = context.config.stage(stage.name)
  if settings.epochs:
    check_batch_size(settings.batch_size, f"stages.{stage.name}.batch_size", settings.accumulate)
  run = open_stage_run(stage, context, variables, len(images.train), _SharedFiles)
  with closing_after_errors(run.files):
    program = _MappedRun(run, images, numbers)
    begun = time.monotonic()
    with log.progress(f"stage {stage.name}", run.steps, run.begin) as advance:
      take_steps(program, context.stop, advance)
  broadcast_from_process_0(run.files.close)
  logger.info(
    f"stage {stage.name}: {run.steps} steps, the last {run.steps - run.begin} in "
    f"{time.monotonic() - begun:.1f} s, {run.log.rate}; {run.log.note}, "
    f"validation {run.accuracy:.4f}"
  )
  return run.state.learned()


class _MappedRun:
  """The loop's `Program` of a run that all devices train together."""

  def __init__(self, run: StageRun, images: StageImages, numbers: Hyperparameters | None):
    stage, config = run.stage, run.context.config
    settings, part = config.stage(stage.name), Part(jax.process_index(), jax.process_count())
    order = Order.of(images.train.labels, config.seed, stage.name, settings, part)
    batches = images.train.training_batches(order, settings.augment)
    settings = dataclasses.replace(settings, augment=batches.augment)
    recipe = Recipe(settings, make_optimizer(settings, run.steps_per_epoch), numbers)
    step = make_train_step(
      run.context.model, stage, recipe, config.dataset, ACROSS_DEVICES, images.to_hard
    )
    self.runs = [run]
    self._batches = batches
    self._step = map_train_step(_compiled_once(step, stage))
    self._state = replicate(run.state)
    self._store = replicate(batches.resident())
    self._key = replicate(stage_key(config.seed, stage.name))
    self._accuracy = _accuracy_on(images.validation, run)

  def batches(self) -> Generator[Batch, None, None]:
    (run,) = self.runs
    with contextlib.closing(self._batches.stream(run.begin, run.steps)) as stream:
      yield from ahead(stream)

  def step(self, batch: Batch) -> PyTree:
    self._state, sums = self._step(self._state, self._store, batch, self._key)
    return sums

  def split_sums(self, sums: PyTree) -> list[dict[str, Any]]:
    return [sums]

  def validate(self) -> list[float]:
    return [self._accuracy(self._state)]

  def trees(self) -> list[Tree]:
    # Copies, so that later steps may reuse the devices' buffers.
    return [jax.tree.map(np.array, jax.device_get(saved(self._state)))]

  def mark_diverged(self, run: StageRun, step: int, error: TrainingDivergedError) -> None:  # noqa: ARG002
    raise error

  def stopped_where(self, taken: int) -> str:
    (run,) = self.runs
    return (
      f"after step {run.begin + taken} of {run.steps} of stage {run.stage.name}; a checkpoint "
      "holds it, and the same command goes on from there"
    )


class _SharedFiles(StageFiles):
  """The files of a run that several processes train together: process 0 alone has them.

  What befalls them when checkpoints are read or written befalls every process.
  """

  def __init__(self, stage: Stage, context: RunContext):
    self._files = all_succeed(
      lambda: files_on_disk(stage, context) if is_process_0() else StageFiles()
    )

  def begin(self, like: PyTree) -> tuple[int, PyTree | None]:
    return broadcast_from_process_0(lambda: self._files.begin(like))

  def save(self, step: int, tree: PyTree, accuracy: float | None = None) -> None:
    broadcast_from_process_0(lambda: self._files.save(step, tree, accuracy))

  def metrics(self, step: int, epoch: float, values: dict[str, Any]) -> None:
    self._files.metrics(step, epoch, values)

  def timing(self, step: int, epoch: float, values: dict[str, Any]) -> None:
    self._files.timing(step, epoch, values)

  def close(self) -> None:
    self._files.close()


def _accuracy_on(split: Split, run: StageRun) -> Callable[[TrainState], float]:
  """The accuracy of a state's watched exit on the validation images of its stage."""
  config, watched = run.context.config, run.stage.watched
  forward = ForwardPass(run.context.model, watched, config.dataset, config.evaluation.batch_size)

  def accuracy(state: TrainState) -> float:
    outputs = forward(state.frozen | state.learned(), split)
    return float(np.mean(np.argmax(exit_logits(outputs, watched), axis=-1) == split.labels))

  return accuracy


def _compiled_once(step: TrainStep, stage: Stage) -> TrainStep:
  """The step, which refuses to be traced again: each compilation begins with a trace."""
  traced = False

  def once(*arguments: Any) -> Any:
    nonlocal traced
    if traced:
      raise RuntimeError(f"stage {stage.name}: its step would be compiled again, for other shapes")
    traced = True
    return step(*arguments)

  return once
