"""The numbers of a stage's loss that follow from a run's images and hard classes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from meanet_jax.config.schema import Config
from meanet_jax.config.stages import StageConfig
from meanet_jax.errors import UserError
from meanet_jax.models.meanet import Exits
from meanet_jax.training.hard_classes import predicted_hard_share, read_confusion
from meanet_jax.training.hyperparameters import Hyperparameters
from meanet_jax.training.stages import Stage


def run_numbers(
  stage: Stage, config: Config, labels: Int[np.ndarray, " n"], found: Mapping[str, Any] | None
) -> Hyperparameters:
  """The hyperparameters of a stage of a run.

  Args:
    stage, config: what learns, and the experiment.
    labels: of all training images, original class numbers.
    found: what hard_classes.json holds; None for a stage that needs no hard classes.

  Raises:
    UserError: class weights that leave an exit nothing to learn from.
  """
  settings = config.stage(stage.name)
  numbers = Hyperparameters.of(settings)
  if settings.class_weights != "none":
    counts = np.bincount(labels, minlength=config.dataset.num_classes)
    numbers = numbers._replace(
      class_weights=tuple(
        _class_weights(stage, settings, counts, _classes(stage, exit, len(counts), found))
        for exit in stage.exits
      )
    )
  if found is None:
    return numbers
  if settings.weigh_exits_by_share:
    numbers = numbers._replace(loss_weights=_exit_weights(found))
  if stage.extension_classes == "all":
    numbers = numbers._replace(image_weights=_image_weights(settings.easy_weight, found))
  return numbers


def check_class_weights(config: Config, labels: Int[np.ndarray, " n"]) -> None:
  """Refuses class weights that leave a stage nothing to learn from, whichever classes are hard.

  Args:
    config: the experiment.
    labels: of all training images.

  Raises:
    UserError: every class with images weighs 0.
  """
  counts = np.bincount(labels, minlength=config.dataset.num_classes)
  for name in config.stage_names:
    weights = config.stage(name).class_weights
    if isinstance(weights, tuple) and not np.dot(weights, counts):
      raise _nothing_to_learn(name)


def _nothing_to_learn(name: str) -> UserError:
  return UserError(
    f"stages.{name}.class_weights is 0 for every class that an exit of stage {name} learns from; "
    "accepted: one of these above 0"
  )


def _classes(
  stage: Stage, exit: Exits, num_classes: int, found: Mapping[str, Any] | None
) -> Int[np.ndarray, " k"]:
  """The original numbers of an exit's classes."""
  if exit is not Exits.EXTENSION or stage.extension_classes == "all":
    return np.arange(num_classes)
  assert found is not None
  return np.asarray(found["classes"])


def _class_weights(
  stage: Stage,
  settings: StageConfig,
  counts: Int[np.ndarray, " c"],
  classes: Int[np.ndarray, " k"],
) -> Float[np.ndarray, " k"]:
  """Of an exit's classes, of mean 1 over its images."""
  images = counts[classes]
  if settings.class_weights == "balanced":
    factors = np.where(images > 0, 1 / np.maximum(images, 1), 0.0)
  else:
    factors = np.asarray(settings.class_weights)[classes]
  total = np.sum(images * factors)
  if not total:
    raise _nothing_to_learn(stage.name)
  return (factors * np.sum(images) / total).astype(np.float32)


def _exit_weights(found: Mapping[str, Any]) -> tuple[float, float]:
  """`StageConfig.weigh_exits_by_share`, of main and extension."""
  extension = predicted_hard_share(found)
  return 2 * (1 - extension), 2 * extension


def _image_weights(easy_weight: float, found: Mapping[str, Any]) -> tuple[float, float]:
  """`StageConfig.easy_weight`: of easy images that main predicts as easy, and of the others."""
  confusion = read_confusion(found)
  easy = np.setdiff1d(np.arange(len(confusion)), found["classes"])
  share = float(confusion[np.ix_(easy, easy)].sum() / confusion.sum())
  mean = share * easy_weight + 1 - share
  return easy_weight / mean, 1 / mean
