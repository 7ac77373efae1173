"""One trial of a grid: an ordinary run, and its place in the stage under way."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float, Int

from meanet_jax.config.schema import Config
from meanet_jax.data.hard_images import hard_images
from meanet_jax.files import read_json, write_json
from meanet_jax.grid.batch_streams import Source
from meanet_jax.grid.points import Point
from meanet_jax.grid.step import Constants
from meanet_jax.models.meanet import Exits, Outputs
from meanet_jax.training.context import RunContext
from meanet_jax.training.losses import exit_logits
from meanet_jax.training.optimizers import learning_rates
from meanet_jax.training.restore import Learned, read_label_map
from meanet_jax.training.run_numbers import run_numbers
from meanet_jax.training.stage_images import count_training_images
from meanet_jax.training.stage_run import StageRun, files_on_disk, open_stage_run
from meanet_jax.training.stages import Stage

DIVERGED, SCORES = "diverged.json", "validation.json"


def point_path(workdir: Path, point: Point) -> Path:
  """A trial's run directory below the grid's."""
  return workdir / "points" / point.name


def is_done(path: Path) -> bool:
  """Whether nothing is left to do for the trial of a run directory: scored, or diverged."""
  return (path / SCORES).exists() or (path / DIVERGED).exists()


@dataclasses.dataclass
class Trial:
  """A point of the grid, its run, and what it has learned so far.

  context: of an ordinary run, but its model has no mapped axis, for a trial is on one device.
  learned: by the stages so far.
  logits: of validation images, by exit, where a stage of this process has left them.
  """

  point: Point
  context: RunContext
  learned: Learned
  logits: dict[Exits, Float[np.ndarray, "n c"]] = dataclasses.field(default_factory=dict)

  @property
  def config(self) -> Config:
    """Its experiment."""
    return self.context.config

  @property
  def diverged(self) -> str | None:
    """Where its loss was not finite; None where that has not happened."""
    path = self.context.run.path / DIVERGED
    return read_json(path)["message"] if path.exists() else None

  def pass_finished(self, stage: Stage) -> None:
    """Goes on to the outcome of a stage that an earlier process has finished."""
    self.learned.pass_finished(stage)
    for exit in stage.exits:
      self.logits.pop(exit, None)  # of the stages before it

  def mark_diverged(self, stage: str, step: int, message: str) -> None:
    """Writes down that this trial is not to be trained further."""
    marked = {"stage": stage, "step": step, "message": message}
    write_json(self.context.run.path / DIVERGED, marked)


@dataclasses.dataclass(frozen=True)
class TrialState:
  """A trial in a stage.

  run: its steps, metrics and files.
  to_hard: the label map of its hard classes; None in a stage that does not need them.
  """

  trial: Trial
  run: StageRun
  to_hard: Int[np.ndarray, " c"] | None

  @property
  def source(self) -> Source:
    """What it learns from."""
    classes = None
    if self.to_hard is not None:
      classes = tuple(int(c) for c in np.flatnonzero(self.to_hard >= 0))
    return Source(self.trial.config.seed, self.run.begin, self.run.steps, classes)

  @property
  def image_map(self) -> Int[np.ndarray, " c"] | None:
    """The label map that selects its images; None for all images, under their own labels."""
    return self.to_hard if self.run.stage.images == "hard" else None

  def accuracy(self, outputs: Outputs) -> float:
    """Of the stage's watched exit, on the validation images of the stage.

    Args:
      outputs: of all validation images.
    """
    predictions = np.argmax(exit_logits(outputs, self.run.stage.watched), axis=-1)
    validation = self.trial.context.dataset.validation
    if self.image_map is None:
      return float(np.mean(predictions == validation.labels))
    chosen, labels = hard_images(validation, self.image_map, "validation")
    return float(np.mean(predictions[chosen] == labels))

  def hand_on(self, outputs: Outputs) -> None:
    """Gives the trial what it has learned, once the stage is finished.

    Args:
      outputs: of all validation images.
    """
    self.trial.learned.update(self.run.stage, self.run.state.learned())
    for exit in self.run.stage.exits:
      self.trial.logits[exit] = exit_logits(outputs, exit)

  def constants(self, padded_steps: int, source: int) -> Constants:
    """Its numbers; rates padded to so many steps, and the number of its source."""
    config, stage = self.trial.config, self.run.stage
    settings = config.stage(stage.name)
    steps, steps_per_epoch = self.run.steps, self.run.steps_per_epoch
    rates = np.zeros(padded_steps, np.float32)
    rates[:steps] = learning_rates(settings, steps_per_epoch, steps)
    networks = {"main": config.model.main, "cloud": config.model.cloud}
    dropped = [networks[block].dropout for block in networks if block in stage.trainable]
    path = self.trial.context.run.hard_classes_path
    found = read_json(path) if stage.needs_hard_classes else None
    numbers = run_numbers(stage, config, self.trial.context.dataset.train.labels, found)
    if not numbers.loss_weights:  # the others of its compilation group may have some
      numbers = numbers._replace(loss_weights=(1.0,) * len(stage.exits))
    if settings.head_epochs:
      numbers = numbers._replace(head_steps=settings.head_epochs * self.run.steps_per_epoch)
    return Constants(
      rates=rates,
      steps=np.asarray(self.run.steps, np.int32),
      source=np.asarray(source, np.int32),
      numbers=jax.tree.map(lambda x: np.asarray(x, np.float32), numbers),
      dropout=np.asarray(dropped[0] if dropped else 0.0, np.float32),
    )


def open_trial_state(stage: Stage, trial: Trial) -> TrialState:
  """A trial at its newest checkpoint of a stage that it has not finished.

  The caller closes its files.

  Raises:
    UserError: fewer images of hard classes than a batch.
  """
  context = trial.context
  to_hard = read_label_map(stage, context.config, context.run)
  images = count_training_images(stage, context.dataset, to_hard)
  run = open_stage_run(stage, context, trial.learned(), images, files_on_disk)
  return TrialState(trial, run, to_hard)
