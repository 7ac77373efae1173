"""A group's points through the four stages, together."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from meanet_jax.config.grid import GridConfig
from meanet_jax.data.splits import Dataset
from meanet_jax.errors import TrainingStoppedError
from meanet_jax.grid.batch_streams import hard_images
from meanet_jax.grid.loop import train_trials, validation_logits
from meanet_jax.grid.points import Point
from meanet_jax.grid.score import write_scores
from meanet_jax.grid.trials import Trial, is_done
from meanet_jax.log import logger
from meanet_jax.models.costs import block_macs
from meanet_jax.models.meanet import Exits, MEANet
from meanet_jax.models.variables import make_init
from meanet_jax.models.zoo import build
from meanet_jax.routing.hard_classes import label_map
from meanet_jax.runs.checkpoints import finished_step, quarantine_failed
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.runs.disk import full_disk_in_one_line
from meanet_jax.runs.files import write_json
from meanet_jax.runs.lock import held
from meanet_jax.stopping import Stop, never
from meanet_jax.training.hard_classes import select
from meanet_jax.training.pipeline import load_variables, read_hard_classes
from meanet_jax.training.stages import CLOUD, MAIN, Stage, edge_stage


def point_path(workdir: Path, point: Point) -> Path:
  """A point's run directory below the grid's."""
  return workdir / "points" / point.name


def open_trial(workdir: Path, point: Point, dataset: Dataset) -> Trial:
  """A point with its run directory, made when it is missing.

  Raises:
    UserError: a directory that cannot be written, or holds another run.
  """
  run = RunDirectory.create(point_path(workdir, point), point.config, dataset.data_dir)
  run.record_data(dataset.describe())
  return Trial(point, run)


def train_points(
  points: Sequence[Point],
  workdir: Path,
  dataset: Dataset,
  grid: GridConfig,
  stop: Stop = never,
  tensorboard: bool = False,
) -> None:
  """Trains and scores those points of a group that are not finished.

  Args:
    points: of one group.
    workdir: of the grid.
    dataset: which all learn from.
    grid: how they are batched.
    stop: asked after every step of all, and before every stage.
    tensorboard: whether metrics are TensorBoard's events as well.

  Raises:
    TrainingStoppedError: `stop` said so.
    UserError: a run directory that cannot be used or is in use, or a full disk.
  """
  with full_disk_in_one_line(workdir), contextlib.ExitStack() as stack:
    left = [point for point in points if not is_done(point_path(workdir, point))]
    for point in left:
      stack.enter_context(held(point_path(workdir, point)))
    trials = [open_trial(workdir, point, dataset) for point in left]
    if trials:
      _Group(trials, dataset, grid, stop, tensorboard).train()


class _Group:
  def __init__(
    self,
    trials: list[Trial],
    dataset: Dataset,
    grid: GridConfig,
    stop: Stop,
    tensorboard: bool,
  ):
    self._members, self._dataset, self._grid = trials, dataset, grid
    self._stop, self._tensorboard = stop, tensorboard
    # No axis: batch norm of a member crosses no device, for a member lives on one.
    self._model: MEANet = build(trials[0].config)

  def train(self) -> None:
    config = self._members[0].config
    fresh = make_init(self._model, config.dataset.image_shape)
    stages = (MAIN, edge_stage(config.stages.joint), CLOUD)
    for trial in self._members:
      for stage in stages:
        quarantine_failed(trial.run.checkpoints_path(stage.name))
      trial.variables = load_variables(trial.config, self._model, self._dataset, trial.run, fresh)
    for stage in stages:
      self._gradient_stage(stage)
      if stage is MAIN:
        self._hard_classes_stage()
    self._complete(Exits.ALL, self._alive())
    macs = block_macs(self._model, config)
    for trial in self._alive():
      write_scores(trial, self._dataset, macs)

  def _alive(self) -> list[Trial]:
    return [trial for trial in self._members if not trial.diverged]

  def _gradient_stage(self, stage: Stage) -> None:
    left = [trial for trial in self._alive() if not self._finished(trial, stage)]
    if not left:
      return
    if asked := self._stop():
      raise TrainingStoppedError(
        asked, f"before stage {stage.name}; the same command goes on from there"
      )
    train_trials(
      stage,
      left,
      self._model,
      self._dataset,
      self._grid,
      self._stop,
      self._tensorboard,
    )

  def _finished(self, trial: Trial, stage: Stage) -> bool:
    settings = trial.config.stage(stage.name)
    to_hard = None
    if stage.images == "hard":
      to_hard = label_map(read_hard_classes(trial.run), trial.config.dataset.num_classes)
    images = len(hard_images(self._dataset.train, to_hard)[0])
    last = settings.epochs * (images // settings.batch_size)
    return finished_step(trial.run.checkpoints_path(stage.name)) == last

  def _hard_classes_stage(self) -> None:
    left = [trial for trial in self._alive() if not trial.run.hard_classes_path.exists()]
    self._complete(Exits.MAIN, left)
    for trial in left:
      logger.info(f"point {trial.point.name}: hard classes")
      found = select(trial.config, self._dataset, trial.logits[Exits.MAIN])
      write_json(trial.run.hard_classes_path, found)

  def _complete(self, exits: Exits, trials: list[Trial]) -> None:
    """Runs the networks of members that an earlier process has trained."""
    lacking = [trial for trial in trials if any(exit not in trial.logits for exit in exits)]
    if lacking:
      validation_logits(exits, lacking, self._model, self._dataset)
