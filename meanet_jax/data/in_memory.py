"""Reading a split of a prepared set into memory, images decoded once."""

import numpy as np

from meanet_jax.config.schema import DatasetConfig
from meanet_jax.data.decode import PixelReader
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.data.splits import ArraySplit
from meanet_jax.data.tfds.iterate import Reading, check_decodable, iterate_examples
from meanet_jax.data.tfds.prepared import Example, PreparedSet, checked_labels
from meanet_jax.images.decoding import UndecodableImageError


def read_into_memory(
  found: PreparedSet,
  name: str,
  config: DatasetConfig,
  reader: PixelReader,
  options: ReadOptions,  # noqa: ARG001 - the signature of `open_stream`
) -> Reading:
  """All images of a split as an evaluation sees them.

  Args:
    found: the set.
    name: the split, or a slice of one.
    config: what becomes of undecodable images.
    reader: makes pixels of images.
    options: not needed here.

  Raises:
    UserError: a damaged record file, a label that is no class, or an undecodable image.
  """
  count = len(found.records(name))
  labels = np.empty(count, np.int64)
  images = np.empty((count, *reader.shape), np.uint8)
  deep = np.zeros(count, bool)
  bad: dict[int, str] = {}

  def read(number: int, example: Example) -> None:
    labels[number] = example.label
    try:
      images[number], deep[number] = reader.evaluated(example.image)
    except UndecodableImageError as error:
      bad[number] = f"{found.example_name(name, number, example)} cannot be decoded: {error}"

  iterate_examples(found, name, read, "reading")
  check_decodable(len(bad), count, config, lambda: bad[min(bad)])
  labels = checked_labels(labels, found, name)
  kept = np.setdiff1d(np.arange(count), list(bad))
  whole = ArraySplit(images, labels)
  split = whole.select(kept, labels[kept]) if bad else whole
  return Reading(split, len(bad), int(deep.sum()))
