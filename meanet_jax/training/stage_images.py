"""Which images a stage learns from, and under which labels."""

import dataclasses

import numpy as np
from jaxtyping import Int

from meanet_jax.data.hard_images import hard_images
from meanet_jax.data.splits import Dataset, Split
from meanet_jax.training.stages import Stage


@dataclasses.dataclass(frozen=True)
class StageImages:
  """What one stage learns from and is validated on; labels are those of its watched exit.

  to_hard: the label map of the hard classes; None for a stage that needs none.
  """

  train: Split
  validation: Split
  to_hard: Int[np.ndarray, " c"] | None = None


def stage_images(
  stage: Stage, dataset: Dataset, to_hard: Int[np.ndarray, " c"] | None
) -> StageImages:
  """The images of a stage: all of them, or those of hard classes with labels 0 .. K - 1.

  Args:
    stage: whose images.
    dataset: the run's.
    to_hard: the label map of the run's hard classes; None before they are selected.

  Raises:
    UserError: a split without an image of a hard class.
  """
  if not stage.needs_hard_classes:
    return StageImages(dataset.train, dataset.validation)
  assert to_hard is not None
  if stage.images == "all":
    return StageImages(dataset.train, dataset.validation, to_hard)
  return StageImages(
    train=_subset(dataset.train, to_hard, "train"),
    validation=_subset(dataset.validation, to_hard, "validation"),
    to_hard=to_hard,
  )


def count_training_images(
  stage: Stage, dataset: Dataset, to_hard: Int[np.ndarray, " c"] | None
) -> int:
  """How many images a stage learns from; the arguments are those of `stage_images`."""
  if stage.images == "all":
    return len(dataset.train)
  assert to_hard is not None
  return len(hard_images(dataset.train, to_hard, "train")[0])


def _subset(split: Split, to_hard: Int[np.ndarray, " c"], name: str) -> Split:
  chosen, labels = hard_images(split, to_hard, name)
  return split.subset(chosen, labels)
