"""Sources: from a data set's name to its three splits."""

from collections.abc import Sequence

import numpy as np
import sklearn.datasets
import sklearn.model_selection
from jaxtyping import Int

from meanet_jax.config.schema import DatasetConfig
from meanet_jax.data.decode import PixelReader
from meanet_jax.data.in_memory import read_into_memory
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.data.splits import ArraySplit, Dataset, Split
from meanet_jax.data.streaming import open_stream
from meanet_jax.data.tfds import prepared
from meanet_jax.data.tfds.iterate import Reading
from meanet_jax.data.tfds.prepared import PreparedSet, find_prepared
from meanet_jax.errors import UserError
from meanet_jax.images.decoding import MODES
from meanet_jax.images.preprocessing import Preprocessing, of_sizes
from meanet_jax.log import listed, logger


def load(config: DatasetConfig, options: ReadOptions | None = None) -> Dataset:
  """The data set of a configuration, split by its `split_seed`.

  Args:
    config: which set. `digits` comes with scikit-learn; any other name is TFDS's.
    options: where prepared sets lie.

  Raises:
    UserError: a set that is unknown, not prepared or damaged, splits that are empty or overlap, and
      images or classes other than the configuration declares.
  """
  options = options or ReadOptions()
  dataset = _digits(config) if config.name == "digits" else _prepared(config, options)
  if len(dataset.class_names) != config.num_classes:
    raise UserError(
      f"dataset.num_classes is {config.num_classes}; "
      f"accepted: {len(dataset.class_names)}, as {dataset.name} has"
    )
  return dataset


def load_test(
  config: DatasetConfig,
  options: ReadOptions | None = None,
  preprocessing: Preprocessing | None = None,
) -> tuple[tuple[str, ...], Split]:
  """The class names and the test split alone, for which nothing else is read.

  Args:
    config, options: see `load`.
    preprocessing: of a prepared set's images; the set's own, as `load` uses it, if not given.

  Raises:
    UserError: see `load`.
  """
  options = options or ReadOptions()
  if config.name == "digits":
    dataset = _digits(config)
    return dataset.class_names, dataset.test
  found = find_prepared(config, options.data_dir)
  _check_shape(config, found.shape, str(found.name))
  preprocessing = preprocessing or of_sizes(found.shape[:2])
  test = _read(found, config.test_split, config, preprocessing, options)
  return found.class_names, test.split


def _digits(config: DatasetConfig) -> Dataset:
  """scikit-learn's 1,797 handwritten digits, 8x8, with 17 grey levels spread over uint8."""
  bunch = sklearn.datasets.load_digits()
  images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
  labels = bunch.target.astype(np.int32)
  _check_shape(config, images.shape[1:], "digits")
  if config.test_fraction == 0:
    raise UserError("dataset.test_fraction is 0; accepted: above 0, digits has no test split")
  names = tuple(map(str, bunch.target_names))
  kept, test = _set_aside(labels, config.test_fraction, config.split_seed, names)
  rest = ArraySplit(images[kept], labels[kept])
  train, validation = _train_and_validation(rest, config, names)
  return Dataset(
    name="digits",
    class_names=names,
    train=train,
    validation=validation,
    test=ArraySplit(images[test], labels[test]),
  )


def _prepared(config: DatasetConfig, options: ReadOptions) -> Dataset:
  found = find_prepared(config, options.data_dir)
  if config.test_fraction:
    raise UserError(
      f"dataset.test_fraction is {config.test_fraction}; accepted: 0, {found.name} is split by "
      "dataset.train_split and dataset.test_split"
    )
  _check_shape(config, found.shape, str(found.name))
  prepared.check_disjoint(found, config.train_split, config.test_split)
  preprocessing = of_sizes(found.shape[:2])
  rest = _read(found, config.train_split, config, preprocessing, options)
  test = _read(found, config.test_split, config, preprocessing, options)
  train, validation = _train_and_validation(rest.split, config, found.class_names)
  return Dataset(
    name=str(found.name),
    class_names=found.class_names,
    train=train,
    validation=validation,
    test=test.split,
    preprocessing=preprocessing,
    skipped={"train": rest.skipped, "test": test.skipped},
    data_dir=str(prepared.data_root(options.data_dir)),
  )


def _read(
  found: PreparedSet,
  split: str,
  config: DatasetConfig,
  preprocessing: Preprocessing,
  options: ReadOptions,
) -> Reading:
  """A split, in memory or streamed; says what of it is left out or converted."""
  reader = PixelReader(tuple(config.image_shape), found.shape[:2], preprocessing)
  read = read_into_memory if fits_in_memory(config, found) else open_stream
  reading = read(found, split, config, reader, options)
  if reading.skipped:
    logger.info(
      f"{found.name} {split}: {reading.skipped} images cannot be decoded and are left out"
    )
  if reading.deep:
    logger.info(
      f"{found.name} {split}: {reading.deep} images have more than 8 bits per channel; "
      "the upper 8 are used"
    )
  return reading


def fits_in_memory(config: DatasetConfig, found: PreparedSet) -> bool:
  """Whether the pixels of both splits are at most `in_memory_mb` MB (10^6 bytes)."""
  splits = found.builder.info.splits
  images = sum(splits[name].num_examples for name in (config.train_split, config.test_split))
  return images * int(np.prod(config.image_shape)) <= config.in_memory_mb * 1e6


def _train_and_validation(
  rest: Split, config: DatasetConfig, names: Sequence[str]
) -> tuple[Split, Split]:
  train, validation = _set_aside(rest.labels, config.validation_fraction, config.split_seed, names)
  return rest.select(train, rest.labels[train]), rest.select(validation, rest.labels[validation])


def _set_aside(
  labels: Int[np.ndarray, " n"], fraction: float, seed: int, names: Sequence[str]
) -> tuple[Int[np.ndarray, " a"], Int[np.ndarray, " b"]]:
  """Numbers of two parts in order, the second with `fraction` of the images, class shares kept."""
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


def _check_shape(config: DatasetConfig, shape: tuple[int | None, ...], name: str) -> None:
  fits = all(found in (None, asked) for found, asked in zip(shape, config.image_shape, strict=True))
  if not fits:
    accepted = ", ".join("any" if found is None else str(found) for found in shape)
    raise UserError(
      f"dataset.image_shape is {config.image_shape}; accepted: ({accepted}), as {name} has"
    )
  if config.image_shape[2] not in MODES:
    channels = config.image_shape[2]
    raise UserError(
      f"dataset.image_shape has {channels} channels; accepted from images: 1 (grey), 2 (grey and "
      "alpha), 3 (RGB) or 4 (RGB and alpha)"
    )
