"""A run in one stage: where it stands, what is due after each step, its metrics and its files."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from meanet_jax.data.batches import check_split_size, steps_per_epoch
from meanet_jax.models.variables import Variables
from meanet_jax.runs.stage_files import FilesOnDisk, StageFiles, closing_after_errors
from meanet_jax.training.context import RunContext
from meanet_jax.training.metrics import StageLog, diverged
from meanet_jax.training.optimizers import make_optimizer, make_schedule
from meanet_jax.training.stages import Stage, num_steps
from meanet_jax.training.state import NO_SUMS, TrainState, create_state, saved

Tree = dict[str, Any]


@dataclasses.dataclass
class StageRun:
  """One run in one stage. Steps are counted from the stage's first, which is step 1.

  steps_per_epoch, steps: of the stage, for the run's images.
  begin: steps that an earlier process has taken.
  restored: whether a checkpoint holds the state at `begin`.
  state: on the host, of the newest checkpoint; at first the one to begin with.
  log: sums metrics between lines.
  files: where checkpoints and metrics go; to be closed.
  accuracy: of the last validation; None before the first.
  lost: whether its numbers were not finite, so that nothing of it counts any more.
  """

  stage: Stage
  context: RunContext
  steps_per_epoch: int
  steps: int
  begin: int
  restored: bool
  state: TrainState
  log: StageLog
  files: StageFiles
  accuracy: float | None = None
  lost: bool = False

  def takes(self, step: int) -> bool:
    """Whether the step is one of the run's."""
    return not self.lost and step <= self.steps

  def validates(self, step: int) -> bool:
    """Whether the run is validated and saved after the step."""
    every = self.context.config.logging.checkpoint_every_epochs * self.steps_per_epoch
    return self.takes(step) and (step == self.steps or step % every == 0)

  def record(self, step: int, sums: dict[str, Any]) -> None:
    """Adds a step's metric sums, and writes their means where a line is due.

    Raises:
      TrainingDivergedError: they are not finite.
    """
    every = self.context.config.logging.every_steps
    self.log.add(step, sums, step % every == 0 or self.validates(step))

  def save_validated(self, step: int, tree: Tree, accuracy: float) -> None:
    """Writes the line of a validation, and a checkpoint.

    Args:
      step: the last one taken.
      tree: what `saved` gives, on the host.
      accuracy: on the validation images of the stage.

    Raises:
      TrainingDivergedError: the state is not finite.
    """
    self.files.metrics(step, self.log.epoch(step), {"validation_accuracy": accuracy})
    self._save(step, tree, accuracy)
    self.log.paused()

  def save_between(self, step: int, tree: Tree) -> None:
    """Writes a checkpoint between two validations, with the metric sums since the last line.

    Raises:
      TrainingDivergedError: the state is not finite.
    """
    self._save(step, tree | {"sums": self.log.sums()}, None)

  def save_untrained(self, accuracy: float) -> None:
    """Writes pretrained weights that a stage of no steps keeps as they are."""
    self.accuracy = accuracy
    if not self.restored:
      self.files.save(0, saved(self.state), accuracy)

  def _save(self, step: int, tree: Tree, accuracy: float | None) -> None:
    # A finite loss may come with an update that is not.
    if not all(np.isfinite(array).all() for array in jax.tree.leaves(tree)):
      raise diverged(self.stage.name, step, "the state after it has NaN or infinite numbers")
    self.files.save(step, tree, accuracy)
    self.accuracy = self.accuracy if accuracy is None else accuracy
    self.state = self.state.replace(**{name: tree[name] for name in tree if name != "sums"})


def open_stage_run(
  stage: Stage,
  context: RunContext,
  variables: Variables,
  images: int,
  open_files: Callable[[Stage, RunContext], StageFiles],
) -> StageRun:
  """A run at its newest checkpoint of a stage, or at the stage's beginning.

  Args:
    stage: not finished.
    context: of the run.
    variables: of every block, on the host; those of trainable blocks are the starting point.
    images: how many the stage learns from.
    open_files: opens the stage's files; `files_on_disk`, or what shares them between processes.

  Raises:
    UserError: a batch larger than the stage's images, or a directory that cannot be written.
  """
  settings = context.config.stage(stage.name)
  check_split_size(images, settings, stage.name)
  per_epoch = steps_per_epoch(images, settings.batch_size)
  tx = make_optimizer(settings, per_epoch)
  fresh = create_state(stage, variables, tx, settings.ema_decay > 0)
  files = open_files(stage, context)
  with closing_after_errors(files):
    begin, restored = files.begin(saved(fresh))
    unlogged = NO_SUMS if restored is None else restored.pop("sums")
    schedule = make_schedule(settings, per_epoch)
    return StageRun(
      stage=stage,
      context=context,
      steps_per_epoch=per_epoch,
      steps=num_steps(settings, images),
      begin=begin,
      restored=restored is not None,
      state=jax.device_get(fresh if restored is None else fresh.replace(**restored)),
      log=StageLog(stage.name, per_epoch, files, schedule, unlogged),
      files=files,
    )


def files_on_disk(stage: Stage, context: RunContext) -> StageFiles:
  """The stage's files in the run's directory, which this process writes alone."""
  return FilesOnDisk(context.run, stage.name, context.config.logging, context.tensorboard)
