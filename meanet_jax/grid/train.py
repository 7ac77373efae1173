"""The trials of a compilation group through their stages, together."""

import contextlib
from collections.abc import Sequence

from meanet_jax.config.grid import GridConfig
from meanet_jax.data.splits import Dataset
from meanet_jax.files import write_json
from meanet_jax.grid.context import GridContext
from meanet_jax.grid.points import Point
from meanet_jax.grid.run_stage import train_trials, validation_logits
from meanet_jax.grid.score import write_scores
from meanet_jax.grid.trials import Trial, is_done, point_path
from meanet_jax.log import logger
from meanet_jax.models.costs import block_macs
from meanet_jax.models.meanet import Exits, MEANet
from meanet_jax.models.own_network import own_modules
from meanet_jax.models.variables import Variables
from meanet_jax.models.zoo import build
from meanet_jax.runs.checkpoints import finished_step, quarantine_failed
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.runs.disk import full_disk_in_one_line
from meanet_jax.runs.lock import held
from meanet_jax.training.context import RunContext
from meanet_jax.training.hard_classes import select
from meanet_jax.training.loop import stop_before
from meanet_jax.training.restore import Learned, last_step, load_variables
from meanet_jax.training.stages import Stage, gradient_stages


def train_points(points: Sequence[Point], dataset: Dataset, context: GridContext) -> None:
  """Trains and scores the points that are not finished.

  Args:
    points: of one compilation group.
    dataset: which all learn from.
    context: of the grid.

  Raises:
    TrainingStoppedError: the context's `stop` said so.
    UserError: a run directory that cannot be used or is in use, or a full disk.
  """
  with full_disk_in_one_line(context.path), contextlib.ExitStack() as stack:
    left = [point for point in points if not is_done(point_path(context.path, point))]
    if not left:
      return
    for point in left:
      stack.enter_context(held(point_path(context.path, point)))
    # No axis: batch norm of a trial crosses no device, for a trial is on one.
    model = build(left[0].config)
    _train([open_trial(point, model, dataset, context) for point in left], context.grid)


def open_trial(point: Point, model: MEANet, dataset: Dataset, context: GridContext) -> Trial:
  """A point with its run directory, made when it is missing.

  Args:
    point: of the grid.
    model: of its compilation group, without a mapped axis.
    dataset: which all learn from.
    context: of the grid.

  Raises:
    UserError: a directory that cannot be written, or holds another run.
  """
  run = RunDirectory.create(point_path(context.path, point), point.config, dataset.data_dir)
  run.record_data(dataset.describe())
  run.record_files(dataset.listing)
  run.record_modules(own_modules(point.config))
  own = RunContext(point.config, model, dataset, run, context.stop, context.tensorboard)

  def read(stages: Sequence[Stage]) -> Variables:
    return load_variables(point.config, model, dataset, run, stages)

  return Trial(point, own, Learned(read))


def _train(trials: Sequence[Trial], grid: GridConfig) -> None:
  config, model = trials[0].config, trials[0].context.model
  stages = gradient_stages(config)
  for trial in trials:
    for stage in stages:
      quarantine_failed(trial.context.run.checkpoints_path(stage.name))
  for stage in stages:
    if stage.needs_hard_classes:
      _hard_classes_stage(_alive(trials))
    left = []
    for trial in _alive(trials):
      if _is_finished(stage, trial.context):
        trial.pass_finished(stage)
      else:
        left.append(trial)
    if left:
      stop_before(stage, trials[0].context.stop)
      train_trials(stage, left, grid)
  _complete_logits(Exits.ALL, _alive(trials))
  macs = block_macs(model, config.dataset.image_shape)
  for trial in _alive(trials):
    write_scores(trial, macs)


def _alive(trials: Sequence[Trial]) -> list[Trial]:
  return [trial for trial in trials if not trial.diverged]


def _is_finished(stage: Stage, context: RunContext) -> bool:
  last = last_step(stage, context.config, context.dataset, context.run)
  return finished_step(context.run.checkpoints_path(stage.name)) == last


def _hard_classes_stage(trials: Sequence[Trial]) -> None:
  left = [trial for trial in trials if not trial.context.run.hard_classes_path.exists()]
  _complete_logits(Exits.MAIN, left)
  for trial in left:
    logger.info(f"trial {trial.point.name}: hard classes")
    found = select(trial.config, trial.context.dataset, trial.logits[Exits.MAIN])
    write_json(trial.context.run.hard_classes_path, found)


def _complete_logits(exits: Exits, trials: Sequence[Trial]) -> None:
  """Runs the networks of trials that an earlier process has trained."""
  lacking = [trial for trial in trials if any(exit not in trial.logits for exit in exits)]
  if lacking:
    validation_logits(exits, lacking)
