"""Sources: from a data set's name to its three splits."""

import dataclasses

import numpy as np
import sklearn.datasets
import sklearn.model_selection
from jaxtyping import Int, UInt8

from meanet_jax.config import DatasetConfig
from meanet_jax.config_dict import nearest
from meanet_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Split:
  """Images [n, h, w, c] and their labels [n] in original class numbers."""

  images: UInt8[np.ndarray, "n h w c"]
  labels: Int[np.ndarray, " n"]

  def __len__(self) -> int:
    return len(self.labels)


@dataclasses.dataclass(frozen=True)
class Dataset:
  """Three disjoint splits. `validation` trains nothing and is not the test split."""

  name: str
  class_names: tuple[str, ...]
  train: Split
  validation: Split
  test: Split


def load(config: DatasetConfig) -> Dataset:
  """The data set of a configuration, split by its `split_seed`.

  Raises:
    UserError: an unknown name, or images and classes other than the configuration declares.
  """
  sources = {"digits": _digits}
  if config.name not in sources:
    raise UserError(f"dataset.name is {config.name!r}; {nearest(config.name, sources)}")
  dataset = sources[config.name](config)
  _check(dataset, config)
  return dataset


def _digits(config: DatasetConfig) -> Dataset:
  """scikit-learn's 1,797 handwritten digits, 8x8, with 17 grey levels spread over uint8."""
  bunch = sklearn.datasets.load_digits()
  images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
  labels = bunch.target.astype(np.int32)
  if config.test_fraction == 0:
    raise UserError("dataset.test_fraction is 0; accepted: above 0, digits has no test split")
  rest, test = _stratified(Split(images, labels), config.test_fraction, config.split_seed)
  train, validation = _stratified(rest, config.validation_fraction, config.split_seed)
  return Dataset("digits", tuple(map(str, bunch.target_names)), train, validation, test)


def _stratified(split: Split, fraction: float, seed: int) -> tuple[Split, Split]:
  """Two parts, the second with `fraction` of the images, class shares kept."""
  try:
    first, second = sklearn.model_selection.train_test_split(
      np.arange(len(split)), test_size=fraction, random_state=seed, stratify=split.labels
    )
  except ValueError as error:
    raise UserError(
      f"a share of {fraction} of {len(split)} images cannot be set aside: {error}"
    ) from error
  first, second = np.sort(first), np.sort(second)
  return (
    Split(split.images[first], split.labels[first]),
    Split(split.images[second], split.labels[second]),
  )


def _check(dataset: Dataset, config: DatasetConfig) -> None:
  shape = dataset.train.images.shape[1:]
  if shape != config.image_shape:
    raise UserError(
      f"dataset.image_shape is {config.image_shape}; accepted: {shape}, as {dataset.name} has it"
    )
  if len(dataset.class_names) != config.num_classes:
    raise UserError(
      f"dataset.num_classes is {config.num_classes}; "
      f"accepted: {len(dataset.class_names)}, as {dataset.name} has"
    )
