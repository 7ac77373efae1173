"""What a run has learned, read again from its directory."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from meanet_jax.config.schema import Config
from meanet_jax.data.splits import Dataset
from meanet_jax.errors import UserError
from meanet_jax.files import read_json
from meanet_jax.models.meanet import MEANet
from meanet_jax.models.own_network import own_modules
from meanet_jax.models.variables import Variables, abstract_variables
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.runs.checkpoints import complete_step
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.training.pretrained import initial_variables
from meanet_jax.training.stage_checkpoint import read_stage
from meanet_jax.training.stage_images import count_training_images
from meanet_jax.training.stages import CLOUD, Stage, gradient_stages, num_steps


def load_variables(
  config: Config,
  model: MEANet,
  dataset: Dataset,
  run: RunDirectory,
  stages: Sequence[Stage] | None = None,
) -> Variables:
  """Variables of every block, on the host: of finished stages, and initial ones for the rest.

  A module of the user's that has changed since the run began is named in a warning.

  Args:
    config, model, dataset, run: what learned.
    stages: those whose outcome is read, in order; None for all of the run's.
  """
  run.warn_of_changed_modules(own_modules(config))
  abstract = abstract_variables(model, config.dataset.image_shape)
  variables: Variables = {}
  # In this order: a joint edge stage has gone on learning the main block.
  for stage in gradient_stages(config) if stages is None else stages:
    step = complete_step(run.checkpoints_path(stage.name))
    if step is not None and step == last_step(stage, config, dataset, run):
      variables |= read_stage(stage, config, abstract, run, step)
  missing = tuple(block for block in abstract if block not in variables)
  return jax.device_get(variables | initial_variables(config, model, missing))


class Learned:
  """The variables of a run as its stages so far have left them, read once a stage needs them.

  A later stage may be finished already: where the checkpoints of an earlier one are damaged, that
  one starts over, and must not begin from what the later one made of it.
  """

  def __init__(self, read: Callable[[Sequence[Stage]], Variables]):
    """Reads nothing yet.

    Args:
      read: the variables of every block after the given finished stages.
    """
    self._read = read
    self._stages: list[Stage] = []
    self._variables: Variables | None = None

  def __call__(self) -> Variables:
    """Of every block, on the host."""
    if self._variables is None:
      self._variables = self._read(tuple(self._stages))
    return self._variables

  def pass_finished(self, stage: Stage) -> None:
    """Goes on to the outcome of a stage that an earlier process has finished."""
    self._stages.append(stage)
    self._variables = None

  def update(self, stage: Stage, learned: Variables) -> None:
    """Goes on to the outcome of a stage that has just been trained.

    Args:
      stage: whose last checkpoint is written.
      learned: of the blocks that it trained, on the host.
    """
    self._variables = self() | learned
    self._stages.append(stage)


def require_finished(config: Config, dataset: Dataset, run: RunDirectory) -> None:
  """Refuses a run with a stage whose outcome is missing, or whose last checkpoint is damaged.

  Raises:
    UserError: with the stage's name.
  """
  for stage in gradient_stages(config):
    step = complete_step(run.checkpoints_path(stage.name))
    missing = None
    if step is None:
      missing = stage.name
    elif stage.needs_hard_classes and not run.hard_classes_path.is_file():
      missing = "hard_classes"
    elif step != last_step(stage, config, dataset, run):
      missing = stage.name
    if missing is not None:
      raise unfinished(run, missing)


def load_cloud(config: Config, model: MEANet, run: RunDirectory, num_train: int) -> Variables:
  """The cloud's variables alone, on the host, of a run whose data need not be here.

  Args:
    config, model, run: what learned.
    num_train: training images, as the run's data.json has it.

  Raises:
    UserError: a stage that has not finished.
  """
  step = complete_step(run.checkpoints_path(CLOUD.name))
  if step is None or step != num_steps(config.stages.cloud, num_train):
    raise unfinished(run, CLOUD.name)
  run.warn_of_changed_modules(own_modules(config))
  abstract = abstract_variables(model, config.dataset.image_shape)
  return jax.device_get(read_stage(CLOUD, config, abstract, run, step))


def read_hard_classes(run: RunDirectory) -> Int[np.ndarray, " k"]:
  """The run's hard classes, in increasing class number.

  Raises:
    UserError: the stage has not been run.
  """
  return np.asarray(read_json(run.hard_classes_path)["classes"], np.int32)


def read_label_map(stage: Stage, config: Config, run: RunDirectory) -> Int[np.ndarray, " c"] | None:
  """The label map of the run's hard classes; None for a stage that does not need them."""
  if not stage.needs_hard_classes:
    return None
  return label_map(read_json(run.hard_classes_path), config.dataset.num_classes)


def load_hard_classes(config: Config, run: RunDirectory) -> HardClasses:
  """The run's hard classes, with those of its extension.

  Raises:
    UserError: the stage has not been run.
  """
  classes, extension = config.dataset.num_classes, config.model.extension_classes
  return HardClasses(read_hard_classes(run), classes, extension)


def label_map(found: Mapping[str, Any], num_classes: int) -> Int[np.ndarray, " c"]:
  """The label map of the hard classes in what hard_classes.json holds."""
  return HardClasses(np.asarray(found["classes"], np.int32), num_classes).label_map


def last_step(stage: Stage, config: Config, dataset: Dataset, run: RunDirectory) -> int:
  """The step at which a stage of a run is finished; needs the hard classes if the stage does."""
  images = count_training_images(stage, dataset, read_label_map(stage, config, run))
  return num_steps(config.stage(stage.name), images)


def unfinished(run: RunDirectory, stage: str) -> UserError:
  """What is raised for a run with a stage that has not finished."""
  return UserError(
    f"workdir {run.path} has not finished stage {stage}; accepted: a run that meanet train "
    "finished (the same command goes on with this one)"
  )
