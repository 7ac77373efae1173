"""The four stages in order: main, hard_classes, edge, cloud."""

import contextlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from meanet_jax.config.schema import Config
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.data.splits import Dataset, Split
from meanet_jax.errors import TrainingStoppedError, UserError
from meanet_jax.log import listed, logger
from meanet_jax.models.meanet import Exits, MEANet
from meanet_jax.models.pretrained import initial_variables
from meanet_jax.models.variables import Initialise, Variables, abstract_variables
from meanet_jax.routing.hard_classes import label_map
from meanet_jax.runs.checkpoints import (
  complete_step,
  finished_step,
  open_checkpoints,
)
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.runs.disk import full_disk_in_one_line
from meanet_jax.runs.files import read_json, write_json
from meanet_jax.stopping import Stop, never
from meanet_jax.training import stages
from meanet_jax.training.distributed import all_succeed, broadcast_from_process_0
from meanet_jax.training.forward import ForwardPass
from meanet_jax.training.hard_classes import select
from meanet_jax.training.loop import StageImages, saved, train_stage
from meanet_jax.training.optimizers import make_optimizer
from meanet_jax.training.parallel import replicate
from meanet_jax.training.start import start
from meanet_jax.training.state import create_state


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
  with contextlib.ExitStack() as stack:
    config, model, dataset, run = start(config, workdir, options, tensorboard, stack)
    pipeline = _Pipeline(config, model, dataset, run, stop, tensorboard)
    stack.enter_context(full_disk_in_one_line(run.path))
    pipeline.gradient_stage(stages.MAIN)
    pipeline.hard_classes_stage()
    pipeline.gradient_stage(stages.edge_stage(config.stages.joint))
    pipeline.gradient_stage(stages.CLOUD)
  logger.info(f"all stages finished; evaluate with: python eval.py --workdir {workdir}")


class _Pipeline:
  def __init__(
    self,
    config: Config,
    model: MEANet,
    dataset: Dataset,
    run: RunDirectory,
    stop: Stop,
    tensorboard: bool,
  ):
    self._config, self._model, self._dataset = config, model, dataset
    self._run, self._stop = run, stop
    self._tensorboard = tensorboard
    self._variables: Variables | None = None
    self._hard_classes: Int[np.ndarray, " k"] | None = None  # once selected

  def gradient_stage(self, stage: stages.Stage) -> None:
    settings = self._config.stage(stage.name)
    images = all_succeed(lambda: _images(stage, self._dataset, self._hard_classes, self._config))
    total = settings.epochs * (len(images.train) // settings.batch_size)
    if (
      broadcast_from_process_0(lambda: finished_step(self._run.checkpoints_path(stage.name)))
      == total
    ):
      logger.info(f"stage {stage.name}: already finished ({total} steps)")
      return
    if asked := self._stop():
      raise TrainingStoppedError(
        asked, f"before stage {stage.name}; the same command goes on from there"
      )
    logger.info(
      f"stage {stage.name}: {settings.epochs} epochs of {len(images.train)} images, "
      f"{jax.device_count()} device(s), {jax.process_count()} process(es), compiling"
    )
    learned = train_stage(
      stage,
      self._config,
      self._model,
      self._get_variables(),
      images,
      self._run,
      self._stop,
      self._tensorboard,
    )
    self._get_variables().update(learned)

  def hard_classes_stage(self) -> None:
    if not broadcast_from_process_0(self._run.hard_classes_path.exists):
      found = self._select_hard_classes()
      broadcast_from_process_0(lambda: write_json(self._run.hard_classes_path, found))
    else:
      names = listed(
        broadcast_from_process_0(lambda: read_json(self._run.hard_classes_path))["names"]
      )
      logger.info(f"stage hard_classes: already finished ({names})")
    self._hard_classes = broadcast_from_process_0(lambda: read_hard_classes(self._run))

  def _select_hard_classes(self) -> dict[str, Any]:
    config, validation = self._config, self._dataset.validation
    forward = ForwardPass(self._model, Exits.MAIN, config.dataset, config.evaluation.batch_size)
    outputs = forward(replicate(self._get_variables()), validation)
    assert outputs.main is not None
    return all_succeed(lambda: select(config, self._dataset, outputs.main))

  def _get_variables(self) -> Variables:
    # Made only when a stage needs them: a finished run is repeated in seconds.
    if self._variables is None:
      self._variables = broadcast_from_process_0(
        lambda: load_variables(self._config, self._model, self._dataset, self._run)
      )
    return self._variables


def load_variables(
  config: Config,
  model: MEANet,
  dataset: Dataset,
  run: RunDirectory,
  fresh_variables: Initialise | None = None,
) -> Variables:
  """Variables of every block, on the host: of finished stages, and initial ones for the rest.

  `fresh_variables` is the model's `make_init`, where several seeds share one.
  """
  abstract = abstract_variables(model, config.dataset.image_shape)
  variables: Variables = {}
  # In this order: a joint edge stage has gone on learning the main block.
  for stage in (stages.MAIN, stages.edge_stage(config.stages.joint), stages.CLOUD):
    step = complete_step(run.checkpoints_path(stage.name))
    if step is not None and step == _last_step(stage, config, dataset, run):
      variables |= _read_variables(stage, config, abstract, run, step)
  missing = tuple(block for block in abstract if block not in variables)
  return jax.device_get(variables | initial_variables(config, model, missing, fresh_variables))


def require_finished(config: Config, dataset: Dataset, run: RunDirectory) -> None:
  """Refuses a run with a stage that left no outcome, or whose last checkpoint fails verification.

  Raises:
    UserError: with the stage's name.
  """
  for stage in (stages.MAIN, stages.edge_stage(config.stages.joint), stages.CLOUD):
    step = complete_step(run.checkpoints_path(stage.name))
    unfinished = None
    if step is None:
      unfinished = stage.name
    elif Exits.EXTENSION in stage.exits and not run.hard_classes_path.is_file():
      unfinished = "hard_classes"
    elif step != _last_step(stage, config, dataset, run):
      unfinished = stage.name
    if unfinished is not None:
      raise _unfinished(run, unfinished)


def load_cloud(config: Config, model: MEANet, run: RunDirectory, num_train: int) -> Variables:
  """The cloud's variables alone, on the host, of a run whose data need not be here.

  Args:
    config, model, run: what learned.
    num_train: training images, as the run's data.json has it.

  Raises:
    UserError: a stage that has not finished.
  """
  step = complete_step(run.checkpoints_path(stages.CLOUD.name))
  if step is None or step != _num_steps(stages.CLOUD, config, num_train):
    raise _unfinished(run, stages.CLOUD.name)
  abstract = abstract_variables(model, config.dataset.image_shape)
  return jax.device_get(_read_variables(stages.CLOUD, config, abstract, run, step))


def _unfinished(run: RunDirectory, stage: str) -> UserError:
  return UserError(
    f"workdir {run.path} has not finished stage {stage}; accepted: a run that train.py "
    "finished (the same command goes on with this one)"
  )


def _last_step(stage: stages.Stage, config: Config, dataset: Dataset, run: RunDirectory) -> int:
  return _num_steps(stage, config, len(stage_images(stage, dataset, run, config).train))


def _num_steps(stage: stages.Stage, config: Config, num_train: int) -> int:
  settings = config.stage(stage.name)
  return settings.epochs * (num_train // settings.batch_size)


def _read_variables(
  stage: stages.Stage, config: Config, abstract: Variables, run: RunDirectory, step: int
) -> Variables:
  settings = config.stage(stage.name)
  tx = make_optimizer(settings, steps_per_epoch=1)  # for the structure of its state alone
  averaged = settings.ema_decay > 0
  like = jax.eval_shape(lambda variables: create_state(stage, variables, tx, averaged), abstract)
  with open_checkpoints(run.checkpoints_path(stage.name), config.logging.keep) as checkpoints:
    restored = checkpoints.restore(step, saved(like))
  del restored["sums"]
  return like.replace(**restored).learned()


def read_hard_classes(run: RunDirectory) -> Int[np.ndarray, " k"]:
  """The run's hard classes, in increasing class number.

  Raises:
    UserError: the stage has not been run.
  """
  return np.asarray(read_json(run.hard_classes_path)["classes"], np.int32)


def stage_images(
  stage: stages.Stage, dataset: Dataset, run: RunDirectory, config: Config
) -> StageImages:
  """The images of a stage: all of them, or those of hard classes with labels 0 .. K - 1."""
  hard_classes = read_hard_classes(run) if Exits.EXTENSION in stage.exits else None
  return _images(stage, dataset, hard_classes, config)


def _images(
  stage: stages.Stage,
  dataset: Dataset,
  hard_classes: Int[np.ndarray, " k"] | None,
  config: Config,
) -> StageImages:
  if Exits.EXTENSION not in stage.exits:
    return StageImages(dataset.train, dataset.validation)
  assert hard_classes is not None
  to_hard = label_map(hard_classes, config.dataset.num_classes)
  if stage.images == "all":
    return StageImages(dataset.train, dataset.validation, to_hard)
  return StageImages(
    train=_hard_images(dataset.train, to_hard, "train"),
    validation=_hard_images(dataset.validation, to_hard, "validation"),
  )


def _hard_images(split: Split, to_hard: Int[np.ndarray, " c"], name: str) -> Split:
  labels = to_hard[split.labels]
  chosen = np.flatnonzero(labels >= 0)
  if not len(chosen):
    raise UserError(f"the {name} split has no image of a hard class; accepted: at least 1")
  return split.subset(chosen, labels[chosen])
