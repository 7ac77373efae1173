"""Reading a split of a prepared set into memory, images decoded once."""

import numpy as np

from meanet_jax.config import DatasetConfig
from meanet_jax.console import Reporter
from meanet_jax.data import decode
from meanet_jax.data.options import ReadOptions
from meanet_jax.data.prepared import Example, PreparedSet, checked_labels
from meanet_jax.data.splits import ArraySplit
from meanet_jax.data.visit import visit
from meanet_jax.errors import UserError


def read_into_memory(
  found: PreparedSet,
  name: str,
  config: DatasetConfig,
  options: ReadOptions,  # noqa: ARG001 - the signature of `open_stream`
  reporter: Reporter,
) -> tuple[ArraySplit, int]:
  """All images of a split, and how many were left out as undecodable.

  Images of a set whose images differ in size are resized to `image_shape`, their centre cropped.

  Args:
    found: the set.
    name: the split, or a slice of one.
    config: image shape, and what becomes of undecodable images.
    options: not needed here.
    reporter: progress.

  Raises:
    UserError: a damaged record file, a label that is no class, or an undecodable image.
  """
  count = len(found.records(name))
  labels = np.empty(count, np.int64)
  images = np.empty((count, *config.image_shape), np.uint8)
  bad: dict[int, str] = {}
  to_pixels = decode.centre if None in found.shape else decode.whole

  def read(number: int, example: Example) -> None:
    labels[number] = example.label
    try:
      images[number] = to_pixels(example.image, config.image_shape)
    except decode.UndecodableImageError as error:
      bad[number] = f"{found.example_name(name, number, example)} cannot be decoded: {error}"

  visit(found, name, read, "reading", reporter)
  if bad and config.undecodable == "error":
    first = min(bad)
    raise UserError(
      f"{bad[first]} ({len(bad)} such images); accepted: images, or dataset.undecodable = 'skip'"
    )
  labels = checked_labels(labels, found, name)
  kept = np.setdiff1d(np.arange(count), list(bad))
  if not len(kept):
    raise UserError(f"no image of {found.name} {name} can be decoded; accepted: at least 1")
  whole = ArraySplit(images, labels)
  return (whole.select(kept, labels[kept]) if bad else whole), len(bad)
