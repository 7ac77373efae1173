"""What is settled before a run's first stage, by all of its processes."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from meanet_jax.config.parsing import differences
from meanet_jax.config.schema import Config
from meanet_jax.data.batches import check_split_size
from meanet_jax.data.own.complete import complete_config
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.data.shared_memory import check_shared_memory, needed_bytes
from meanet_jax.data.sources import load
from meanet_jax.data.splits import Dataset
from meanet_jax.errors import UserError
from meanet_jax.log import logger
from meanet_jax.models.own_network import own_modules
from meanet_jax.models.zoo import build
from meanet_jax.routing.policies import configured_policy
from meanet_jax.runs.checkpoints import quarantine_failed
from meanet_jax.runs.directory import RunDirectory, run_path
from meanet_jax.runs.disk import full_disk_in_one_line
from meanet_jax.runs.lock import held, refuse_if_held
from meanet_jax.runs.tensorboard import check_installed
from meanet_jax.selection import learned
from meanet_jax.stopping import Stop
from meanet_jax.training.context import RunContext
from meanet_jax.training.distributed import (
  all_succeed,
  broadcast_from_process_0,
  process_0_then_others,
)
from meanet_jax.training.hard_classes import check_hard_classes, selecting_images
from meanet_jax.training.parallel import AXIS, check_batch_size
from meanet_jax.training.parts import check_parts
from meanet_jax.training.pretrained import check_pretrained
from meanet_jax.training.run_numbers import check_class_weights
from meanet_jax.training.stages import STATIC


@contextlib.contextmanager
def start(
  config: Config,
  workdir: str | Path,
  options: ReadOptions | None,
  stop: Stop,
  tensorboard: bool,
) -> Iterator[RunContext]:
  """A context in which this run's directory, made when missing, is in use by nobody else.

  The arguments are those of `train`. The model is built with the mapped axis.

  Raises:
    UserError: in every process: what cannot be run, is not the same in all processes, or is not
      what the directory holds.
  """
  run = broadcast_from_process_0(lambda: _free(workdir))
  check_same_workdir(run.path, workdir)
  options = (options or ReadOptions()).or_from(broadcast_from_process_0(run.data_dir))
  # In turn, because the first to look at own images or a streamed set makes its index.
  incomplete = config
  config = process_0_then_others(lambda: complete_config(incomplete, options))
  check_same("configuration", differences, broadcast_from_process_0(lambda: config), config)
  all_succeed(lambda: _check_batch_sizes(config))
  if tensorboard:
    broadcast_from_process_0(check_installed)
  model = build(config, AXIS)
  check_parts(config, model)
  dataset = process_0_then_others(lambda: load(config.dataset, options))
  check_same("data", _changed, broadcast_from_process_0(dataset.describe), dataset.describe())
  lines = all_succeed(lambda: check_images(config, dataset))
  context = RunContext(config, model, dataset, run, stop, tensorboard)
  with contextlib.ExitStack() as until_the_end:
    broadcast_from_process_0(lambda: _begin(context, until_the_end))
    for line in lines:
      logger.info(line)
    yield context


def _check_batch_sizes(config: Config) -> None:
  check_batch_size(config.evaluation.batch_size, "evaluation.batch_size")
  for name in config.stage_names:
    settings = config.stage(name)
    if settings.epochs:
      check_batch_size(settings.batch_size, f"stages.{name}.batch_size", settings.accumulate)


def check_images(config: Config, dataset: Dataset) -> list[str]:
  """Refuses what the images of a data set, by label, let no stage be trained with.

  Returns:
    Lines for the user: `check_hard_classes`.

  Raises:
    UserError: a batch above the number of its stage's images, class weights of 0 alone, classes
      without images, or too few to fit the criterion `learned` on.
  """
  for name in config.stage_names:
    if name != "edge":  # which `check_hard_classes` knows about
      check_split_size(len(dataset.train), config.stage(name), name)
  if config.routing.policy != "auto" and configured_policy(config.routing).learns:
    # Only an evaluation fits it, and a run has no other images and no other criterion then.
    learned.check_number(int(selecting_images(config, dataset).sum()))
  check_class_weights(config, dataset.train.labels)
  check_workers(config, dataset)
  return check_hard_classes(config, dataset)


def check_workers(config: Config, dataset: Dataset, sources: int = 1) -> None:
  """Refuses worker processes for whose batches shared memory is too small, in whichever stage.

  Args:
    config: of the run.
    dataset: its images.
    sources: of which every step has a batch, in this process a share of it.

  Raises:
    UserError: as `check_shared_memory`.
  """
  train, validation = dataset.train, dataset.validation
  processes = jax.process_count()

  def needed(batch_size: int, images: int, sources: int = 1) -> int:
    size = sources * train.bytes_of(batch_size // processes)
    return needed_bytes(size, -(-images // batch_size), train.workers)

  # A stage is validated while its own stream stays open.
  evaluation = needed(config.evaluation.batch_size, len(validation))
  settings = [config.stage(name) for name in config.stage_names]
  most = max(needed(s.batch_size, s.epochs * len(train), sources) for s in settings)
  check_shared_memory(most + evaluation, train.workers)


def check_same(what: str, differ: Callable[[Any, Any], list[str]], first: Any, own: Any) -> None:
  """Refuses what this process was given, where it is not what process 0 was.

  Args:
    what: in a word.
    differ: names what differs.
    first, own: what process 0 has, and this one.

  Raises:
    UserError: in every process.
  """

  def check() -> None:
    changed = differ(first, own)
    if changed:
      raise UserError(
        f"process {jax.process_index()} has other {what} than process 0, different in "
        f"{', '.join(changed)}; accepted: the same in every process"
      )

  all_succeed(check)


def check_same_workdir(path: Path, workdir: str | Path) -> None:
  """Refuses a workdir that is not process 0's.

  Args:
    path: of the directory in process 0.
    workdir: that this process was given.

  Raises:
    UserError: in every process.
  """

  def check() -> None:
    own = run_path(workdir)
    if own != path:
      raise UserError(
        f"process {jax.process_index()} has --workdir {own} and process 0 has {path}; accepted: "
        "the same in every process"
      )

  all_succeed(check)


def _changed(first: dict[str, Any], own: dict[str, Any]) -> list[str]:
  return [name for name in own if first[name] != own[name]]


def _free(workdir: str | Path) -> RunDirectory:
  run = RunDirectory(workdir)
  refuse_if_held(run.path)  # now, because reading the data may take long
  return run


def _begin(context: RunContext, until_the_end: contextlib.ExitStack) -> None:
  """Makes the run's directory, or checks that it is this run's; holds it until the end."""
  run, config, dataset = context.run, context.config, context.dataset
  changed = run.changed(config)
  if changed or not run.config_path.exists():
    check_pretrained(config, context.model)  # now, and not after the stages before
  with full_disk_in_one_line(run.path):
    until_the_end.enter_context(held(run.path))
    RunDirectory.create(run.path, config, dataset.data_dir).record_data(dataset.describe())
    run.record_files(dataset.listing)
    run.record_modules(own_modules(config))
    for name in (*config.stage_names, STATIC.name):
      quarantine_failed(run.checkpoints_path(name))
  if changed:
    logger.info(f"going on with {', '.join(changed.values())}, which nothing has been made by")
