"""What a configuration leaves to the data: the number of classes and the shape of the images."""

import dataclasses
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int

from meanet_jax.config.checks import validate
from meanet_jax.config.schema import Config
from meanet_jax.data.own.arrays import read_arrays
from meanet_jax.data.own.files import shown
from meanet_jax.data.own.find import NAME, find_files, is_arrays, own_path
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.images.decoding import MODES
from meanet_jax.log import logger
from meanet_jax.paths import expanded_path

MAX_SIDE = 96  # of an image whose shape is left to the data
MIN_SIDE = 32  # of one that is resized
_MULTIPLE = 8


def complete_config(config: Config, options: ReadOptions | None = None) -> Config:
  """The configuration with what it leaves to its own images (`DatasetConfig.incomplete`) filled in.

  Any other configuration is returned as it is, and nothing is read.

  Args:
    config: the experiment.
    options: where the images are.

  Raises:
    UserError: images that cannot be read, or a configuration that does not fit them.
  """
  dataset = config.dataset
  if dataset.name != NAME or not dataset.incomplete:
    return config
  path = own_path(dataset, options or ReadOptions())
  if is_arrays(path):
    arrays = read_arrays(path)
    names, count, shape = arrays.class_names, len(arrays.images), arrays.images.shape[1:]
  else:
    found = find_files(path, dataset)
    names, count = found.files.class_names, len(found.files.paths)
    shape = (*suggested_size(found.index.sizes), suggested_channels(found.index.grey))
  asked = dataset.image_shape
  size = asked[:2] if all(asked[:2]) else shape[:2]
  channels = asked[2] or shape[2]
  classes = dataset.num_classes or len(names)
  # The path of another directory could not be resumed from; `--data-dir` is no part of it, and
  # nothing need be there any more.
  where = dataset.path and str(Path(expanded_path(dataset.path, "dataset.path")).absolute())
  dataset = dataclasses.replace(
    dataset, num_classes=classes, image_shape=(*size, channels), path=where
  )
  config = dataclasses.replace(config, dataset=dataset)
  validate(config)
  logger.info(
    f"{shown(path)}: {count} images of {len(names)} classes; dataset.num_classes = {classes}, "
    f"dataset.image_shape = {dataset.image_shape} ({MODES.get(channels, channels)})"
  )
  return config


def suggested_size(sizes: Int[np.ndarray, "n 2"]) -> tuple[int, int]:
  """Height and width for a network, of the images' upright heights and widths.

  Images of one size of at most `MAX_SIDE` stay as they are. Larger ones of one size keep their
  aspect ratio, shrunk to `MAX_SIDE` and rounded to multiples of 8. Of several sizes the result is a
  square of the median shorter side, rounded and bounded by `MIN_SIDE` and `MAX_SIDE`.
  """
  height, width = (int(side) for side in np.median(sizes, axis=0))
  if (sizes == sizes[0]).all():
    largest = max(height, width)
    if largest <= MAX_SIDE:
      return height, width
    return _rounded(height * MAX_SIDE / largest), _rounded(width * MAX_SIDE / largest)
  side = max(_rounded(float(np.median(sizes.min(axis=1)))), MIN_SIDE)
  return side, side


def suggested_channels(grey: Bool[np.ndarray, " n"]) -> int:
  """1 where all images are grey, otherwise 3."""
  return 1 if grey.all() else 3


def _rounded(side: float) -> int:
  return int(min(max(round(side / _MULTIPLE) * _MULTIPLE, _MULTIPLE), MAX_SIDE))
