"""Which split every image belongs to: what the user says, and the rest drawn from the seed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

from meanet_jax.config.schema import DatasetConfig
from meanet_jax.data.own.files import SPLITS, shown
from meanet_jax.data.own.groups import check_enough, check_given, count_groups, draw_groups
from meanet_jax.data.stratified import split_off
from meanet_jax.errors import UserError
from meanet_jax.log import listed, logger

_TRAIN, _VALIDATION, _TEST = range(3)


def assign_splits(
  given: Int[np.ndarray, " n"] | None,
  labels: Int[np.ndarray, " n"],
  class_names: Sequence[str],
  config: DatasetConfig,
  source: Path,
  groups: np.ndarray | None = None,
) -> Int[np.ndarray, " n"]:
  """The split of every image, int8 [n], as places in `SPLITS`.

  Args:
    given: the user's; None, or without a validation or test split, which is then drawn from the
      training images, of `config`'s fraction and with the shares of the classes kept.
    labels, class_names: of the images.
    config: fractions and seed.
    source: of the images, for messages.
    groups: names of what is not to be divided between splits, of each image; None for no groups.

  Raises:
    UserError: no training images, a class with too few of them or of their groups, given splits
      that share a group, or no share for a test split.
  """
  splits = np.zeros(len(labels), np.int8) if given is None else given.astype(np.int8)
  drawn = [place for place in (_TEST, _VALIDATION) if not (splits == place).any()]
  counts = np.bincount(labels[splits == _TRAIN], minlength=len(class_names))
  needed = 1 + len(drawn)
  if counts.min() < needed:
    few = [f"{class_names[c]} {counts[c]}" for c in np.argsort(counts, kind="stable")[:3]]
    parts = ", ".join(name for place, name in enumerate(SPLITS) if place in (_TRAIN, *drawn))
    raise UserError(
      f"{shown(source)} has too few images to train on of a class (the smallest: "
      f"{', '.join(few)}); accepted: at least {needed} of each class, for {parts}"
    )
  fractions = {_TEST: config.test_fraction, _VALIDATION: config.validation_fraction}
  if groups is not None:
    check_given(splits, groups, source)
  for place in drawn:
    if not fractions[place]:
      raise UserError(
        f"dataset.test_fraction is 0, and {shown(source)} has no test split; accepted: above 0"
      )
    rest = np.flatnonzero(splits == _TRAIN)
    if groups is None:
      _, part = split_off(labels[rest], fractions[place], config.split_seed, class_names)
    else:
      _, number = np.unique(groups[rest], return_inverse=True)
      counts = count_groups(labels[rest], number, len(class_names))
      check_enough(counts, needed, class_names, source)
      needed -= 1
      part = draw_groups(counts, fractions[place], config.split_seed, needed)[number]
    splits[rest[part]] = place
  _check_every_class(splits, labels, class_names, drawn, source)
  return splits


def _check_every_class(
  splits: Int[np.ndarray, " n"],
  labels: Int[np.ndarray, " n"],
  class_names: Sequence[str],
  drawn: Sequence[int],
  source: Path,
) -> None:
  """Refuses drawn splits that lack a class, and names the classes that given ones lack."""
  counts = [np.bincount(labels[splits == p], minlength=len(class_names)) for p in range(3)]
  for place in range(3):
    lacking = np.flatnonzero(counts[place] == 0)
    if not len(lacking):
      continue
    c = int(lacking[0])
    if place in drawn or place == _TRAIN:
      found = ", ".join(f"{name} {count[c]}" for name, count in zip(SPLITS, counts, strict=True))
      raise UserError(
        f"class {class_names[c]} of {shown(source)} is missing from the {SPLITS[place]} split that "
        f"was drawn ({found}); accepted: more images of it, or a larger dataset.test_fraction and "
        "dataset.validation_fraction"
      )
    names = listed([class_names[c] for c in lacking])
    logger.warning(f"the {SPLITS[place]} split of {shown(source)} has no image of {names}")
