"""One point of a group while it trains: its run directory, and its place in the stage under way."""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from meanet_jax.config.schema import Config
from meanet_jax.errors import TrainingDivergedError
from meanet_jax.grid.batch_streams import Source
from meanet_jax.grid.points import Point
from meanet_jax.grid.step import Constants
from meanet_jax.models.meanet import Exits
from meanet_jax.models.variables import Variables
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.runs.files import read_json, write_json
from meanet_jax.runs.stage_files import FilesOnDisk, StageFiles, closing_after_errors
from meanet_jax.training.hyperparameters import Hyperparameters
from meanet_jax.training.loop import checked, saved
from meanet_jax.training.metrics import NO_SUMS, StageLog
from meanet_jax.training.optimizers import make_optimizer, make_schedule
from meanet_jax.training.stages import Stage
from meanet_jax.training.state import TrainState, create_state

DIVERGED, SCORES = "diverged.json", "validation.json"


def is_done(path: Path) -> bool:
  """Whether nothing is left to do for the point of a run directory: scored, or diverged."""
  return (path / SCORES).exists() or (path / DIVERGED).exists()


@dataclasses.dataclass
class Trial:
  """A point and what it has learned so far.

  run: its directory, an ordinary run's. variables: of every block, on the host; empty until they
  are needed. logits: of validation images, by exit, where a stage of this process has left them.
  """

  point: Point
  run: RunDirectory
  variables: Variables = dataclasses.field(default_factory=dict)
  logits: dict[Exits, Float[np.ndarray, "n c"]] = dataclasses.field(default_factory=dict)

  @property
  def config(self) -> Config:
    """Its experiment."""
    return self.point.config

  @property
  def diverged(self) -> str | None:
    """Where its loss was not finite; None where that has not happened."""
    path = self.run.path / DIVERGED
    return read_json(path)["message"] if path.exists() else None

  def mark_diverged(self, stage: str, step: int, message: str) -> None:
    """Writes down that this point is not to be trained further."""
    write_json(self.run.path / DIVERGED, {"stage": stage, "step": step, "message": message})


@dataclasses.dataclass
class TrialState:
  """A member in a stage: what it starts from, and where its metrics and checkpoints go.

  state, begin: at its newest checkpoint; fresh where there is none, and `kept` says which.
  steps_per_epoch, steps: of the stage, for its images. classes, to_hard: its hard classes and their
  label map, where the stage asks for them. lost: once it has diverged.
  """

  trial: Trial
  stage: Stage
  steps_per_epoch: int
  steps: int
  begin: int
  kept: bool
  state: TrainState
  log: StageLog
  files: StageFiles
  classes: tuple[int, ...] | None
  to_hard: Int[np.ndarray, " c"] | None
  lost: bool = False

  @property
  def source(self) -> Source:
    """What it learns from."""
    return Source(self.trial.config.seed, self.begin, self.steps, self.classes)

  def takes(self, round: int) -> bool:
    """Whether a step counts for this member."""
    return not self.lost and self.begin + round < self.steps

  def saves(self, round: int) -> bool:
    """Whether its stage is validated and saved after a step."""
    step = self.begin + round + 1
    every = self.trial.config.logging.checkpoint_every_epochs * self.steps_per_epoch
    return self.takes(round) and (step == self.steps or step % every == 0)

  def record(self, round: int, sums: dict[str, Any]) -> None:
    """Takes a step's metric sums; one that is not finite marks the member."""
    step = self.begin + round + 1
    if not self.takes(round):
      return
    with self._marking(step):
      self.log.add(step, sums, step % self.trial.config.logging.every_steps == 0)
      if self.saves(round):
        self.log.flush()

  def save(self, round: int, state: TrainState, accuracy: float) -> None:
    """Writes a validated checkpoint, unless its numbers are not finite."""
    step = self.begin + round + 1
    self.files.metrics(step, self.log.epoch(step), {"validation_accuracy": accuracy})
    with self._marking(step):
      self.files.save(step, checked(saved(state), self.stage, step), accuracy)
    self.log.paused()

  def keep(self, accuracy: float) -> None:
    """Writes pretrained weights that no step changes."""
    if not self.kept:
      self.files.save(0, saved(self.state), accuracy)

  def stop(self, round: int, state: TrainState) -> None:
    """Writes a checkpoint between two that are validated."""
    step = self.begin + round + 1
    with self._marking(step):
      self.files.save(step, checked(saved(state, self.log.sums()), self.stage, step))

  @contextlib.contextmanager
  def _marking(self, step: int) -> Iterator[None]:
    try:
      yield
    except TrainingDivergedError as error:
      self.lost = True
      self.trial.mark_diverged(self.stage.name, step, str(error))

  def constants(self, padded_steps: int, source: int) -> Constants:
    """Its numbers; rates padded to so many steps."""
    config = self.trial.config
    settings = config.stage(self.stage.name)
    schedule = make_schedule(settings, self.steps_per_epoch)
    rates = np.zeros(padded_steps, np.float32)
    rates[: self.steps] = np.asarray(schedule(jnp.arange(self.steps)), np.float32)
    networks = {"main": config.model.main, "cloud": config.model.cloud}
    dropped = [networks[block].dropout for block in networks if block in self.stage.trainable]
    numbers = Hyperparameters.of(settings)
    if not numbers.loss_weights:  # the others of its group may have some
      numbers = numbers._replace(loss_weights=(1.0,) * len(self.stage.exits))
    return Constants(
      rates=rates,
      steps=np.asarray(self.steps, np.int32),
      source=np.asarray(source, np.int32),
      numbers=jax.tree.map(lambda x: np.asarray(x, np.float32), numbers),
      dropout=np.asarray(dropped[0] if dropped else 0.0, np.float32),
    )


def open_trial_state(
  trial: Trial,
  stage: Stage,
  images: int,
  classes: tuple[int, ...] | None,
  to_hard: Int[np.ndarray, " c"] | None,
  tensorboard: bool,
) -> TrialState:
  """A member's seat in a stage, from its newest checkpoint; its files are to be closed.

  Args:
    member: with its variables.
    stage: not finished.
    images: how many it learns from.
    classes, to_hard: its hard classes and their label map, where the stage asks for them.
    tensorboard: whether metrics are TensorBoard's events as well.
  """
  config = trial.config
  settings = config.stage(stage.name)
  steps_per_epoch = images // settings.batch_size
  tx = make_optimizer(settings, steps_per_epoch)
  fresh = create_state(stage, trial.variables, tx, settings.ema_decay > 0)
  files = FilesOnDisk(trial.run, stage.name, config.logging, tensorboard)
  with closing_after_errors(files):
    begin, kept = files.begin(saved(fresh))
    unlogged = NO_SUMS if kept is None else kept.pop("sums")
    return TrialState(
      trial=trial,
      stage=stage,
      steps_per_epoch=steps_per_epoch,
      steps=settings.epochs * steps_per_epoch,
      begin=begin,
      kept=kept is not None,
      state=jax.device_get(fresh if kept is None else fresh.replace(**kept)),
      log=StageLog(
        stage.name, steps_per_epoch, files, make_schedule(settings, steps_per_epoch), unlogged
      ),
      files=files,
      classes=classes,
      to_hard=to_hard,
    )
