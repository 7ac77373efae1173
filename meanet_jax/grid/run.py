"""From a grid to trained trials, tables, figures and the best of them."""

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax

from meanet_jax.config.grid import GridConfig
from meanet_jax.config.parsing import differences
from meanet_jax.config.schema import Config
from meanet_jax.cost.changes import CostChanges
from meanet_jax.data.own.complete import complete_config
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.data.sources import load
from meanet_jax.data.splits import Dataset
from meanet_jax.errors import TrainingDivergedError, TrainingStoppedError, UserError
from meanet_jax.evaluation.asked import Asked, kept_evaluation
from meanet_jax.evaluation.evaluate import check_evaluation
from meanet_jax.files import read_json
from meanet_jax.grid.compilation_groups import CompilationGroup, compilation_groups
from meanet_jax.grid.context import GridContext
from meanet_jax.grid.directory import GridDirectory
from meanet_jax.grid.estimate import batching_of, describe, estimate, matrix_product_rate
from meanet_jax.grid.points import Point, expand
from meanet_jax.grid.report import (
  average_seeds,
  best_outcome,
  best_setting,
  read_outcomes,
)
from meanet_jax.grid.train import train_points
from meanet_jax.grid.trial_batches import most_seeds_together
from meanet_jax.grid.trials import is_done, point_path
from meanet_jax.log import logger
from meanet_jax.models.zoo import build
from meanet_jax.report.figure_text import undrawable_warning
from meanet_jax.report.write import evaluate_run
from meanet_jax.runs.directory import SUMMARY, RunDirectory
from meanet_jax.runs.disk import full_disk_in_one_line
from meanet_jax.runs.lock import refuse_if_held
from meanet_jax.runs.tensorboard import check_installed
from meanet_jax.stopping import Stop, never
from meanet_jax.training.distributed import (
  all_succeed,
  broadcast_from_process_0,
  is_process_0,
  process_0_then_others,
)
from meanet_jax.training.start import (
  check_images,
  check_same,
  check_same_workdir,
  check_workers,
)

SECONDS_BETWEEN_LOOKS = 1.0


def plan(config: Config, grid: GridConfig) -> list[CompilationGroup]:
  """The compilation groups of a grid, its points checked one by one before anything starts.

  Raises:
    UserError: an axis, a point or a structure that cannot be.
  """
  groups = compilation_groups(expand(grid.axes, config, grid.max_points))
  for group in groups:
    build(group.config)
    check_evaluation(group.config)  # the best point is evaluated here, when all is trained
    for name in group.config.stage_names:
      settings = group.config.stage(name)
      if settings.epochs and settings.batch_size % settings.accumulate:
        raise UserError(
          f"stages.{name}.batch_size is {settings.batch_size}; accepted: a multiple of the "
          f"{settings.accumulate} micro-batches"
        )
  return groups


def show_grid(
  config: Config,
  grid: GridConfig,
  options: ReadOptions | None = None,
) -> None:
  """Prints a grid's trials, its compilation groups, and what they will take; writes nothing.

  Raises:
    UserError: as `train_grid`.
  """
  _load_and_show(_completed(config, options), grid, options)


def train_grid(
  config: Config,
  grid: GridConfig,
  workdir: str | Path,
  options: ReadOptions | None = None,
  stop: Stop = never,
  tensorboard: bool = False,
) -> list[Path]:
  """Trains every trial that `workdir` has not finished, and says which is best.

  Called by all processes of a grid together, which share out the trials of each compilation group
  and need a workdir that all of them see.

  Args:
    config: what the trials differ from.
    grid: in what they differ, and what trains them.
    workdir: made when missing.
    options: where and how data are read.
    stop: asked after every step and before every stage.
    tensorboard: whether metrics are TensorBoard's events as well.

  Returns:
    The trials' run directories, in the order of the product.

  Raises:
    UserError: a grid that cannot be run, or a workdir of another one or in use by another process.
    TrainingStoppedError: `stop` said so.
    TrainingDivergedError: no setting is finished with every seed.
  """
  directory = broadcast_from_process_0(lambda: _free(workdir))
  check_same_workdir(directory.path, workdir)
  check_same("configuration", differences, broadcast_from_process_0(lambda: config), config)
  check_same("grid", _changed, broadcast_from_process_0(lambda: grid), grid)
  if tensorboard:
    broadcast_from_process_0(check_installed)
  options = (options or ReadOptions()).or_from(broadcast_from_process_0(directory.data_dir))
  config = _completed(config, options)
  groups, dataset = _load_and_show(config, grid, options)
  context = GridContext(directory.path, grid, options, stop, tensorboard)
  train_groups = _executor(context, dataset)
  with full_disk_in_one_line(directory.path), contextlib.ExitStack() as stack:
    broadcast_from_process_0(lambda: directory.begin(config, grid, groups, stack))
    try:
      train_groups(groups)
      if jax.process_count() > 1:
        _wait_for_others(directory, groups, stop)
    finally:
      if is_process_0():
        directory.write(groups, grid, None)
    broadcast_from_process_0(lambda: _finish(directory, groups, grid, options))
  points = [point for group in groups for point in group.points]
  points.sort(key=lambda point: point.number)
  return [point_path(directory.path, point) for point in points]


def _completed(config: Config, options: ReadOptions | None) -> Config:
  # In turn, because the first to look at own images makes their index.
  return process_0_then_others(lambda: complete_config(config, options))


def _free(workdir: str | Path) -> GridDirectory:
  directory = GridDirectory(workdir)
  refuse_if_held(directory.path)  # now, because reading the data may take long
  return directory


def _executor(
  context: GridContext, dataset: Dataset
) -> Callable[[Sequence[CompilationGroup]], None]:
  """What trains compilation groups to their end."""
  if context.grid.executor == "ray":
    from meanet_jax.grid.ray import RayExecutor  # an extra, which takes seconds to import

    return RayExecutor(context)

  def train_here(groups: Sequence[CompilationGroup]) -> None:
    mine, processes = jax.process_index(), jax.process_count()
    for group in groups:
      train_points(group.points[mine::processes], dataset, context)

  return train_here


def _load_and_show(
  config: Config, grid: GridConfig, options: ReadOptions | None
) -> tuple[list[CompilationGroup], Dataset]:
  groups = all_succeed(lambda: plan(config, grid))
  # In turn, because the first to read a streamed set makes its index.
  dataset = process_0_then_others(lambda: load(config.dataset, options))
  points = [point for group in groups for point in group.points]
  # A random selection differs from seed to seed, and most lines are those of every trial.
  lines = all_succeed(lambda: [line for p in points for line in check_images(p.config, dataset)])
  if grid.executor != "ray":  # whose workers have machines of their own
    all_succeed(lambda: check_workers_together(groups, dataset, grid))
  for line in dict.fromkeys(lines):
    logger.info(line)
  points.sort(key=lambda point: point.number)
  logger.info(
    f"{len(points)} trials in {len(groups)} compilation groups, batched by {batching_of(grid)}"
  )
  numbers = {point.number: group.number for group in groups for point in group.points}
  for point in points:
    logger.info(
      f"trial {point.name}, compilation group {numbers[point.number]}: {_settings(point)}"
    )
  rate = matrix_product_rate()
  total = 0.0
  for group in groups:
    found = estimate(group, dataset, grid, rate)
    total += found.seconds
    logger.info(
      f"compilation group {group.number}: {len(group.points)} trials, "
      f"about {_duration(found.seconds)}, at most {found.bytes / 1e6:.0f} MB on a device"
    )
  logger.info(f"all compilation groups: about {_duration(total)} ({describe(rate)})")
  return groups, dataset


def check_workers_together(
  groups: Sequence[CompilationGroup], dataset: Dataset, grid: GridConfig
) -> None:
  """Refuses worker processes for whose batches shared memory is too small: a step of several trials
  has a batch of each seed.

  Raises:
    UserError: before the first stage, though a later one may be what needs so much.
  """
  mine, processes = jax.process_index(), jax.process_count()
  for group in groups:
    seeds = [point.config.seed for point in group.points[mine::processes]]
    if seeds:
      sources = most_seeds_together(seeds, grid.per_device)
      # No trial's batch is shared out over processes, as that of a run is.
      check_workers(group.config, dataset, processes * sources)


def _wait_for_others(
  directory: GridDirectory, groups: Sequence[CompilationGroup], stop: Stop
) -> None:
  """Until all processes are done, by their directories: Gloo waits for half an hour at most.

  Raises:
    TrainingStoppedError: `stop` said so.
  """
  paths = [point_path(directory.path, point) for group in groups for point in group.points]
  while not all(map(is_done, paths)):
    if asked := stop():
      raise TrainingStoppedError(
        asked, "while other processes train; the same command goes on from there"
      )
    time.sleep(SECONDS_BETWEEN_LOOKS)
  all_succeed(lambda: None)


def _finish(
  directory: GridDirectory,
  groups: Sequence[CompilationGroup],
  grid: GridConfig,
  options: ReadOptions | None,
) -> None:
  outcomes = read_outcomes(directory.path, groups)
  for outcome in outcomes:
    if outcome.diverged is not None:
      logger.info(f"trial {outcome.point.name} diverged: {_settings(outcome.point)}")
  best = best_setting(average_seeds(outcomes, grid.best_by))
  if best is None:
    raise TrainingDivergedError(
      f"no setting of the grid in {directory.path} is finished with every seed; "
      "accepted: one that is (grid.csv has the outcome of each trial)"
    )
  outcome = best_outcome(best, grid.best_by)
  path = point_path(directory.path, outcome.point)
  config, summary = RunDirectory.existing(path).config(), path / "eval" / SUMMARY
  kept = kept_evaluation(summary if summary.exists() else None)
  if kept is None or not kept.answers(Asked(config.evaluation.constraints, CostChanges()), config):
    if summary.exists():  # since then a person may have evaluated this trial otherwise
      logger.info(f"{summary} is replaced: it may be of other constraints, costs or rules")
    evaluate_run(path, options=options)
  test = read_json(summary)["systems"]
  directory.write(groups, grid, test)
  spread = "" if best.spread is None else f" ± {100 * best.spread:.2f}"
  logger.info(
    f"best by validation: {', '.join(f'{k}={v}' for k, v in best.settings.items()) or 'any seed'}, "
    f"{grid.best_by} {100 * (best.mean or 0):.2f}{spread}% over {len(best.outcomes)} trial(s); "
    f"its best trial {outcome.point.name} on test: {100 * test[grid.best_by]['accuracy']:.2f}%"
  )
  if boxes := undrawable_warning(v for o in outcomes for v in o.point.settings.values()):
    logger.warning(boxes)
  logger.info(f"grid.csv, grid.json and grid.png are in {directory.path}")
  if best.unmet is not None:
    logger.warning(f"no setting meets its constraints; of the best: {best.unmet}")


def _changed(first: GridConfig, own: GridConfig) -> list[str]:
  return [name for name, value in vars(first).items() if value != getattr(own, name)]


def _settings(point: Point) -> str:
  return ", ".join(f"{name}={value}" for name, value in point.settings.items())


def _duration(seconds: float) -> str:
  if seconds < 120:
    return f"{seconds:.0f} s"
  return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
