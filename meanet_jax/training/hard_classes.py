"""The stage `hard_classes`: selection from the main block's answers on validation."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from meanet_jax.annotations import Bool, Int
from meanet_jax.config.schema import Config
from meanet_jax.data.batches import check_split_size
from meanet_jax.data.calibration_part import run_calibration_part
from meanet_jax.data.splits import Dataset
from meanet_jax.errors import UserError
from meanet_jax.log import listed, logger
from meanet_jax.routing.hard_classes import (
  TIE_BREAKS,
  Tie,
  class_precision,
  confusion_matrix,
  random_classes,
  select_hard_classes,
)
from meanet_jax.routing.scores import refuse_nan


@dataclasses.dataclass(frozen=True)
class _Images:
  """Images per class: those that train, and those of validation that select. Int [c] each."""

  train: Int[np.ndarray, " c"]
  selecting: Int[np.ndarray, " c"]

  @classmethod
  def of(cls, config: Config, dataset: Dataset) -> "_Images":
    classes = config.dataset.num_classes
    labels = dataset.validation.labels[selecting_images(config, dataset)]
    return cls(
      np.bincount(dataset.train.labels, minlength=classes), np.bincount(labels, minlength=classes)
    )

  @property
  def eligible(self) -> Bool[np.ndarray, " c"]:
    """Classes that can be hard: the others cannot be learned, or have no precision to speak of."""
    return (self.train > 0) & (self.selecting > 0)

  def without(self, names: tuple[str, ...]) -> str:
    """The classes that cannot be hard, by name and reason; empty where there are none."""
    reasons = (
      (self.train == 0, "training image"),
      ((self.train > 0) & (self.selecting == 0), "validation image that selects hard classes"),
    )
    return ", ".join(
      f"without a {what}: {listed([names[c] for c in np.flatnonzero(lacking)])}"
      for lacking, what in reasons
      if lacking.any()
    )


def check_hard_classes(config: Config, dataset: Dataset) -> list[str]:
  """Refuses what no outcome of the stage could make work, before anything is trained.

  Args:
    config: the run's.
    dataset: its images, by label.

  Returns:
    Lines for the user: classes that cannot be hard, and a batch that may turn out too large.

  Raises:
    UserError: fewer classes than K that can be hard, named, or a batch of the stage `edge` that is
      larger than the images of any K classes.
  """
  images, lines = _Images.of(config, dataset), []
  count, eligible = config.num_hard, images.eligible
  lacking = images.without(dataset.class_names)
  if count > eligible.sum():
    raise UserError(
      f"hard_classes.count is {count}; accepted: at most {eligible.sum()}, for the other classes "
      f"are {lacking}; or images of every class, or other shares "
      "(dataset.validation_fraction, evaluation.calibration_fraction)"
    )
  if lacking:
    lines.append(f"classes {lacking}; they cannot be hard and count as easy")
  edge = config.stages.edge
  if config.stages.training == "joint" or config.model.extension_classes == "all":
    check_split_size(len(dataset.train), edge, "edge")
    return lines
  if config.hard_classes.selection == "random":
    hard = random_classes(config.seed, eligible, count)
    check_split_size(int(images.train[hard].sum()), edge, "edge")
    return lines
  sizes = np.sort(images.train[eligible])
  fewest, most = int(sizes[:count].sum()), int(sizes[-count:].sum())
  check_split_size(most, edge, "edge", f"the training images of the {count} largest classes")
  if fewest < edge.batch_size:
    lines.append(
      f"stages.edge.batch_size is {edge.batch_size}, and the {count} smallest classes have "
      f"{fewest} training images; at most {fewest} is accepted whichever classes turn out hard "
      "(the field can still be changed once stage main is finished)"
    )
  return lines


def select(
  config: Config,
  dataset: Dataset,
  logits: Float[np.ndarray, "n c"],
) -> dict[str, Any]:
  """A run's hard classes, as hard_classes.json holds them.

  Args:
    config: the run's.
    dataset: its classes' names and validation images.
    logits: the main block's, of all validation images.

  Raises:
    UserError: logits that are not finite.
  """
  refuse_nan("main", logits)
  selects = selecting_images(config, dataset)
  labels = dataset.validation.labels[selects]
  predictions = np.argmax(logits, axis=-1)[selects]
  confusion = confusion_matrix(labels, predictions, config.dataset.num_classes)
  precision, eligible = class_precision(confusion), _Images.of(config, dataset).eligible
  tie = None
  if config.hard_classes.selection == "random":
    hard = random_classes(config.seed, eligible, config.num_hard)
  else:
    hard, tie = select_hard_classes(confusion, config.num_hard, eligible)
  names = dataset.class_names
  unseen = np.flatnonzero(np.isnan(precision))
  if len(unseen):
    logger.info(
      f"stage hard_classes: {len(unseen)} of {len(names)} classes never predicted on validation, "
      f"which counts as the least precision: {listed([names[c] for c in unseen])}"
    )
  if tie is not None:
    logger.info(f"stage hard_classes: {_tie_text(tie, names)}")
  logger.info(f"stage hard_classes: {listed([names[c] for c in hard])}")
  cells = np.argwhere(confusion)
  return {
    "classes": hard.tolist(),
    "names": [names[c] for c in hard],
    "precision": [None if np.isnan(p) else p for p in precision.tolist()],
    "never_predicted": unseen.tolist(),
    "not_eligible": np.flatnonzero(~eligible).tolist(),
    "tie": None if tie is None else dataclasses.asdict(tie),
    "confusion_counts": {
      "true": cells[:, 0].tolist(),
      "predicted": cells[:, 1].tolist(),
      "count": confusion[tuple(cells.T)].tolist(),
    },
    "split": "validation",
    "num_examples": len(labels),
  }


def read_confusion(found: Mapping[str, Any]) -> Int[np.ndarray, "c c"]:
  """The confusion matrix of a hard_classes.json, true classes in rows.

  Args:
    found: what the file holds, with counts of the cells that are not zero.
  """
  cells = found["confusion_counts"]
  classes = len(found["precision"])
  confusion = np.zeros((classes, classes), np.int64)
  confusion[cells["true"], cells["predicted"]] = cells["count"]
  return confusion


def predicted_hard_share(found: Mapping[str, Any]) -> float:
  """The share of the images that selected the hard classes for which main predicts one of them.

  Args:
    found: what hard_classes.json holds.
  """
  confusion = read_confusion(found)
  return float(confusion[:, found["classes"]].sum() / confusion.sum())


def selecting_images(config: Config, dataset: Dataset) -> Bool[np.ndarray, " n"]:
  """The validation images that select: those that carry no guarantee."""
  return ~run_calibration_part(config, len(dataset.validation))


def _tie_text(tie: Tie, names: tuple[str, ...]) -> str:
  selected, left_out = (listed([names[c] for c in part]) for part in (tie.selected, tie.left_out))
  what = "never predicted" if tie.precision is None else f"of precision {tie.precision:.4f}"
  rules = TIE_BREAKS[: TIE_BREAKS.index(tie.decided_by) + 1]
  return (
    f"{len(tie.selected) + len(tie.left_out)} classes {what} tie for {len(tie.selected)} of the "
    f"places; by {', then '.join(rules)} they go to {selected}, not to {left_out}"
  )
