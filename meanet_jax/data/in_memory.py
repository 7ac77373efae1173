"""Reading a split into memory, images decoded once."""

import math

import numpy as np

from meanet_jax.config.schema import DatasetConfig
from meanet_jax.data.decode import PixelReader
from meanet_jax.data.examples import (
  Example,
  Examples,
  Reading,
  check_decodable,
  checked_labels,
  iterate_examples,
)
from meanet_jax.data.splits import ArraySplit
from meanet_jax.images.decoding import UndecodableImageError


def fits_in_memory(config: DatasetConfig, images: int) -> bool:
  """Whether the pixels of so many images are at most `in_memory_mb` MB (10^6 bytes)."""
  return images * math.prod(config.image_shape) <= config.in_memory_mb * 1e6


def read_into_memory(
  examples: Examples, num_classes: int, config: DatasetConfig, reader: PixelReader
) -> Reading:
  """All images of a split as an evaluation sees them.

  Args:
    examples: of the split.
    num_classes: above every label.
    config: what becomes of undecodable images.
    reader: makes pixels of images.

  Raises:
    UserError: an example that cannot be read, a label that is no class, or an undecodable image.
  """
  count = len(examples)
  labels = np.empty(count, np.int64)
  images = np.empty((count, *reader.shape), np.uint8)
  deep = np.zeros(count, bool)
  bad: dict[int, str] = {}

  def read(number: int, example: Example) -> None:
    labels[number] = example.label
    try:
      images[number], deep[number] = reader.evaluated(example.image)
    except UndecodableImageError as error:
      bad[number] = f"{examples.example_name(number, example)} cannot be decoded: {error}"

  iterate_examples(examples, read, "reading")
  check_decodable(len(bad), count, config, lambda: bad[min(bad)])
  checked = checked_labels(labels, num_classes, examples)
  kept = np.setdiff1d(np.arange(count), list(bad))
  everything = ArraySplit(images, checked)
  split = everything.select(kept, checked[kept]) if bad else everything
  return Reading(split, len(bad), int(deep.sum()))
