"""Splits: images with their labels, whether they lie in memory or are read when they are needed."""

import dataclasses
import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, UInt8

from meanet_jax.config.stages import AugmentConfig
from meanet_jax.data.batches import ArrayBatches, Batches, Order
from meanet_jax.data.padding import padded, parts_of_batches
from meanet_jax.images.preprocessing import WHOLE, Preprocessing

Indices = Sequence[int] | Int[np.ndarray, " m"]


@runtime_checkable
class Split(Protocol):
  """Images [n, h, w, c] uint8 in a fixed order, and their labels int32 [n]."""

  @property
  def labels(self) -> Int[np.ndarray, " n"]:
    """Original class numbers, or what `select` put in their place."""
    ...

  @property
  def resident_images(self) -> UInt8[np.ndarray, "n h w c"] | None:
    """All images, where they lie in memory and devices keep them; None where they are streamed."""
    ...

  @property
  def workers(self) -> int:
    """Processes that decode images ahead of their use; 0 for images in memory."""
    ...

  def __len__(self) -> int: ...

  def bytes_of(self, images: int) -> int:
    """What so many decoded images take."""
    ...

  def select(self, chosen: Int[np.ndarray, " m"], labels: Int[np.ndarray, " m"]) -> "Split":
    """The images of these indices, in this order, under these labels."""
    ...

  def subset(self, chosen: Int[np.ndarray, " m"], labels: Int[np.ndarray, " m"]) -> "Split":
    """As `select`, for a stage of a run whose devices keep the images of this split anyway."""
    ...

  def images_at(self, indices: Indices) -> UInt8[np.ndarray, "m h w c"]:
    """The images of these indices, as an evaluation sees them."""
    ...

  def batches(
    self, batch_size: int, part: int = 0, parts: int = 1
  ) -> Iterator[tuple[UInt8[np.ndarray, "b h w c"], int]]:
    """All images in order as an evaluation sees them, in batches of one size.

    Args:
      batch_size: over all parts.
      part, parts: which run of neighbours of every batch is read, of how many of equal length.

    Yields:
      A batch's part, the last padded with zeros, and how many images of the batch over all parts
      are real.
    """
    ...

  def training_batches(self, order: Order, augment: AugmentConfig) -> Batches:
    """The batches that a stage learns from.

    Args:
      order: of the split's size.
      augment: the stage's; the result's `augment` is what of it remains for the device.
    """
    ...


@dataclasses.dataclass(frozen=True)
class ArraySplit:
  """Images that lie in memory."""

  images: UInt8[np.ndarray, "n h w c"]
  labels: Int[np.ndarray, " n"]

  def __len__(self) -> int:
    return len(self.labels)

  @property
  def resident_images(self) -> UInt8[np.ndarray, "n h w c"] | None:
    """See `Split`."""
    return self.images

  @property
  def workers(self) -> int:
    """See `Split`."""
    return 0

  def bytes_of(self, images: int) -> int:
    """See `Split`."""
    return images * math.prod(self.images.shape[1:])

  def select(self, chosen: Int[np.ndarray, " m"], labels: Int[np.ndarray, " m"]) -> "ArraySplit":
    """See `Split`."""
    return ArraySplit(self.images[chosen], labels)

  def subset(self, chosen: Int[np.ndarray, " m"], labels: Int[np.ndarray, " m"]) -> "ArraySubset":
    """See `Split`."""
    return ArraySubset(self.images[chosen], labels, self.images, chosen.astype(np.int32))

  def images_at(self, indices: Indices) -> UInt8[np.ndarray, "m h w c"]:
    """See `Split`."""
    return self.images[np.asarray(indices)]

  def batches(
    self, batch_size: int, part: int = 0, parts: int = 1
  ) -> Iterator[tuple[UInt8[np.ndarray, "b h w c"], int]]:
    """See `Split`."""
    for run, real in parts_of_batches(len(self), batch_size, part, parts):
      yield padded(self.images[run.start : run.stop], batch_size // parts)[0], real

  def training_batches(self, order: Order, augment: AugmentConfig) -> ArrayBatches:
    """See `Split`."""
    indices = np.arange(len(self), dtype=np.int32)
    return ArrayBatches(self.images, self.labels.astype(np.int32), indices, order, augment)


@dataclasses.dataclass(frozen=True)
class ArraySubset(ArraySplit):
  """Some images of a split that lies in memory, under labels of their own.

  parent: uint8 [all, h, w, c], what the split has; devices keep these. indices: int32 [n], of the
  chosen among them.
  """

  parent: UInt8[np.ndarray, "all h w c"]
  indices: Int[np.ndarray, " n"]

  def training_batches(self, order: Order, augment: AugmentConfig) -> ArrayBatches:
    """See `Split`."""
    labels = np.full(len(self.parent), -1, np.int32)
    labels[self.indices] = self.labels
    return ArrayBatches(self.parent, labels, self.indices, order, augment)


@dataclasses.dataclass(frozen=True)
class Dataset:
  """Three disjoint splits. `validation` trains nothing and is not the test split.

  name: with its version, where it has one. class_names: by class number. preprocessing: of images
  that are evaluated. skipped: images left out as undecodable, per split that was read (`validation`
  is part of `train` then). data_dir: of a prepared set, absolute. listing: of own files, as CSV of
  path, label and split; empty where images have no files of their own.
  """

  name: str
  class_names: tuple[str, ...]
  train: Split
  validation: Split
  test: Split
  preprocessing: Preprocessing = WHOLE
  skipped: dict[str, int] = dataclasses.field(default_factory=dict)
  data_dir: str | None = None
  listing: str = ""

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
