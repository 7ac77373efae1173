"""Parts of a set, drawn with the shares of the classes kept."""

from collections.abc import Sequence

import numpy as np
import sklearn.model_selection
from jaxtyping import Int

from meanet_jax.config.schema import DatasetConfig
from meanet_jax.data.splits import Split
from meanet_jax.errors import UserError
from meanet_jax.log import listed


def train_and_validation(
  rest: Split, config: DatasetConfig, names: Sequence[str]
) -> tuple[Split, Split]:
  """The images to train on and, of `validation_fraction`, those that train nothing.

  Raises:
    UserError: as `split_off`.
  """
  train, validation = split_off(rest.labels, config.validation_fraction, config.split_seed, names)
  return rest.select(train, rest.labels[train]), rest.select(validation, rest.labels[validation])


def split_off(
  labels: Int[np.ndarray, " n"], fraction: float, seed: int, names: Sequence[str]
) -> tuple[Int[np.ndarray, " a"], Int[np.ndarray, " b"]]:
  """Indices of two parts in order, the second with `fraction` of the images, class shares kept.

  Raises:
    UserError: a class of one image, or a part too small for all classes.
  """
  single = np.flatnonzero(np.bincount(labels) == 1)
  if len(single):
    raise UserError(
      f"a share of {fraction} of {len(labels)} images cannot be set aside: one image alone "
      f"has each of the classes {listed([names[c] for c in single])}; accepted: at least 2 images "
      "of each class that has any"
    )
  try:
    first, second = sklearn.model_selection.train_test_split(
      np.arange(len(labels)), test_size=fraction, random_state=seed, stratify=labels
    )
  except ValueError as error:
    raise UserError(
      f"a share of {fraction} of {len(labels)} images cannot be set aside: {error}"
    ) from error
  return np.sort(first), np.sort(second)
