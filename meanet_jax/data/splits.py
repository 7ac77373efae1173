"""Splits: images with their labels, whether they lie in memory or are read when they are needed."""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, UInt8

from meanet_jax.images.preprocessing import WHOLE, Preprocessing

Numbers = Sequence[int] | Int[np.ndarray, " m"]


@runtime_checkable
class Split(Protocol):
  """Images [n, h, w, c] uint8 in a fixed order, and their labels int32 [n]."""

  @property
  def labels(self) -> Int[np.ndarray, " n"]:
    """Original class numbers, or what `select` put in their place."""
    ...

  def __len__(self) -> int: ...

  def select(self, chosen: Int[np.ndarray, " m"], labels: Int[np.ndarray, " m"]) -> "Split":
    """The images of these numbers, in this order, under these labels."""
    ...

  def images_at(self, numbers: Numbers) -> UInt8[np.ndarray, "m h w c"]:
    """The images of these numbers, as an evaluation sees them."""
    ...

  def batches(
    self, batch_size: int, part: int = 0, parts: int = 1
  ) -> Iterator[tuple[UInt8[np.ndarray, "b h w c"], int]]:
    """All images in order as an evaluation sees them, in batches of one size.

    Args:
      batch_size: over all parts.
      part, parts: which run of neighbours of every batch is read, of how many of equal length.

    Yields:
      A batch's part, the last padded with zeros, and how many images of the *whole* batch are real.
    """
    ...


@dataclasses.dataclass(frozen=True)
class ArraySplit:
  """Images that lie in memory."""

  images: UInt8[np.ndarray, "n h w c"]
  labels: Int[np.ndarray, " n"]

  def __len__(self) -> int:
    return len(self.labels)

  def select(self, chosen: Int[np.ndarray, " m"], labels: Int[np.ndarray, " m"]) -> "ArraySplit":
    """See `Split`."""
    return ArraySplit(self.images[chosen], labels)

  def images_at(self, numbers: Numbers) -> UInt8[np.ndarray, "m h w c"]:
    """See `Split`."""
    return self.images[np.asarray(numbers)]

  def batches(
    self, batch_size: int, part: int = 0, parts: int = 1
  ) -> Iterator[tuple[UInt8[np.ndarray, "b h w c"], int]]:
    """See `Split`."""
    for numbers, real in parts_of_batches(len(self), batch_size, part, parts):
      yield padded(self.images[numbers.start : numbers.stop], batch_size // parts)[0], real


@dataclasses.dataclass(frozen=True)
class ArraySubset(ArraySplit):
  """Some images of a split that lies in memory, under labels of their own.

  whole: uint8 [all, h, w, c], what the split has; devices keep these. numbers: int32 [n], of the
  chosen among them.
  """

  whole: UInt8[np.ndarray, "all h w c"]
  numbers: Int[np.ndarray, " n"]

  @classmethod
  def of(
    cls, split: ArraySplit, numbers: Int[np.ndarray, " m"], labels: Int[np.ndarray, " m"]
  ) -> "ArraySubset":
    """The images of these numbers."""
    return cls(split.images[numbers], labels, split.images, numbers.astype(np.int32))


@dataclasses.dataclass(frozen=True)
class Dataset:
  """Three disjoint splits. `validation` trains nothing and is not the test split.

  name: with its version, where it has one. class_names: by class number. preprocessing: of images
  that are evaluated. skipped: images left out as undecodable, per split that was read (`validation`
  is part of `train` then). data_dir: of a prepared set, absolute.
  """

  name: str
  class_names: tuple[str, ...]
  train: Split
  validation: Split
  test: Split
  preprocessing: Preprocessing = WHOLE
  skipped: dict[str, int] = dataclasses.field(default_factory=dict)
  data_dir: str | None = None

  def describe(self) -> dict[str, Any]:
    """What a run records: class names, sizes, and a sha256 of each split's labels in order."""
    splits = {"train": self.train, "validation": self.validation, "test": self.test}
    return {
      "name": self.name,
      "class_names": list(self.class_names),
      "splits": {
        name: {
          "num_examples": len(split),
          "labels_sha256": hashlib.sha256(split.labels.astype("<i4").tobytes()).hexdigest(),
        }
        for name, split in splits.items()
      },
      "skipped": self.skipped,
    }


def parts_of_batches(
  size: int, batch_size: int, part: int, parts: int
) -> Iterator[tuple[range, int]]:
  """The image numbers of one part of every batch, and how many images the whole batch has.

  Both are smaller for the last batch, of which a part may have none.
  """
  share = batch_size // parts
  for start in range(0, size, batch_size):
    stop = min(start + batch_size, size)
    begin = min(start + part * share, stop)
    yield range(begin, min(begin + share, stop)), stop - start


def padded_batches(
  images: UInt8[np.ndarray, "n h w c"], batch_size: int
) -> Iterator[tuple[UInt8[np.ndarray, "b h w c"], int]]:
  """All images in order, in batches of one size; the last is padded with zeros.

  Yields:
    A batch and how many of its images are real.
  """
  for start in range(0, len(images), batch_size):
    yield padded(images[start : start + batch_size], batch_size)


def padded(
  images: UInt8[np.ndarray, "m h w c"], batch_size: int
) -> tuple[UInt8[np.ndarray, "b h w c"], int]:
  """The images followed by zeros, and how many of them are real."""
  padding = batch_size - len(images)
  return np.pad(images, ((0, padding), (0, 0), (0, 0), (0, 0))), len(images)
