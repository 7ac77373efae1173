"""Training batches: which images step s sees.

The batch at step s is a function of (seed, stage, s) alone: each epoch goes once through a
permutation drawn from (seed, stage, epoch), and leaves out its last incomplete batch.
"""

import dataclasses
import functools
import itertools
from collections.abc import Generator
from typing import Any

import numpy as np
from jaxtyping import Int

from meanet_jax.config.schema import AugmentConfig
from meanet_jax.data.device_resident import ResidentImages
from meanet_jax.data.splits import ArraySplit, ArraySubset, Split
from meanet_jax.data.streaming import Room, StreamedSplit, stream
from meanet_jax.errors import UserError
from meanet_jax.seeds import name_number

Batch = dict[str, Any]  # NumPy or JAX arrays by name

# So many steps' image numbers go to the devices at once: a transfer for each step takes as long as
# 3 to 5% of a step of the digits, which takes a millisecond.
BLOCK = 64


def check_split_size(
  images: int, batch_size: int, stage: str, what: str = "the stage's number of images"
) -> None:
  """Refuses a batch that is larger than the images of its stage.

  Raises:
    UserError: with `what` there are at most.
  """
  if images < batch_size:
    raise UserError(
      f"stages.{stage}.batch_size is {batch_size}; accepted: at most {images}, {what}"
    )


def steps_per_epoch(images: int, batch_size: int) -> int:
  """Complete batches of so many images."""
  return images // batch_size


@dataclasses.dataclass(frozen=True)
class Order:
  """Which images make up the batch of each step.

  size: of the split. seed, stage: what the permutations are drawn from. batch_size: global.
  part, parts: the share of every batch that this process reads, a run of neighbouring places.
  """

  size: int
  seed: int
  stage: str
  batch_size: int
  part: int = 0
  parts: int = 1

  def __post_init__(self):
    check_split_size(self.size, self.batch_size, self.stage)

  @property
  def steps_per_epoch(self) -> int:
    """Complete batches in the split."""
    return steps_per_epoch(self.size, self.batch_size)

  def __call__(self, step: int) -> tuple[Int[np.ndarray, " b"], Int[np.ndarray, " b"]]:
    """Image numbers, and their places in the global batch; both int32."""
    epoch, within = divmod(step, self.steps_per_epoch)
    share = self.batch_size // self.parts
    places = np.arange(self.part * share, (self.part + 1) * share, dtype=np.int32)
    order = _permutation(self.seed, self.stage, epoch, self.size)
    return order[within * self.batch_size + places], places


@dataclasses.dataclass(frozen=True)
class ArrayBatches:
  """Batches of a split in memory: image numbers. The images stay on the devices (`store`).

  Of a subset all images of its split do. They are there in the stage main anyway; and what a TPU's
  compiler takes for small enough, as CIFAR-100's images of hard classes alone are, it copies into
  on-chip memory at every step.
  """

  split: ArraySplit
  order: Order
  augment: AugmentConfig

  @property
  def store(self) -> Batch:
    """What the devices keep: images (`StoredImages`) and labels (int32; -1 of no subset's)."""
    split = self.split
    if not isinstance(split, ArraySubset):
      return {"image": ResidentImages.of(split.images), "label": split.labels.astype(np.int32)}
    labels = np.full(len(split.whole), -1, np.int32)
    labels[split.numbers] = split.labels
    return {"image": ResidentImages.of(split.whole), "label": labels}

  def __call__(self, step: int) -> Batch:
    """Image numbers `index` of the store and places in the global batch `position`, int32 [b]."""
    index, position = self.order(step)
    return {"index": self._of_store(index), "position": position}

  def stream(self, begin: int, end: int) -> Generator[Batch]:
    """For each of the steps `begin` to `end` - 1 what `parallel.fetch` takes its batch from.

    That is one and the same object for all steps of a block, those s of the same s // BLOCK: image
    numbers `index` int32 [b, BLOCK], and the places `position` int32 [b] that all of them have.
    """
    for block, steps in itertools.groupby(range(begin, end), lambda step: step // BLOCK):
      orders = [self.order(step) for step in range(block * BLOCK, (block + 1) * BLOCK)]
      index = self._of_store(np.stack([index for index, _ in orders], axis=1))
      made = {"index": index, "position": orders[0][1]}
      for _ in steps:
        yield made

  def _of_store(self, index: np.ndarray) -> np.ndarray:
    return self.split.numbers[index] if isinstance(self.split, ArraySubset) else index


@dataclasses.dataclass(frozen=True)
class StreamedBatches:
  """Batches of a split on disk: the images themselves, cropped and resized on the host.

  augment: what is left for the device to do; `crop`: whether a random crop is cut here.
  """

  split: StreamedSplit
  order: Order
  augment: AugmentConfig
  crop: bool

  @property
  def store(self) -> Batch:
    """Nothing stays on the devices."""
    return {}

  @property
  def batch_bytes(self) -> int:
    """What this process's part of a batch takes, labels left out."""
    return self.split.bytes_of(self.order.batch_size // self.order.parts)

  def __call__(self, step: int, room: Room = np.empty) -> Batch:
    """`image` uint8 [b, h, w, c], `label` and place in the global batch `position`, int32 [b]."""
    index, position = self.order(step)

    def pixels(place: int, encoded: bytes) -> np.ndarray:
      if not self.crop:
        return self.split.reader.evaluated(encoded).pixels
      key = [self.order.seed, name_number(f"{self.order.stage} crops"), step, int(position[place])]
      return self.split.reader.cropped(encoded, np.random.default_rng(key))

    return {
      "image": self.split.records.decoded(self.split.numbers[index], pixels, room),
      "label": self.split.labels[index].astype(np.int32),
      "position": position,
    }

  def stream(self, begin: int, end: int) -> Generator[Batch]:
    """The batches of steps `begin` to `end` - 1, made ahead by worker processes."""
    return stream(self, end, self.split.workers, begin, batch_bytes=self.batch_bytes)


def training_batches(
  split: Split, order: Order, augment: AugmentConfig
) -> ArrayBatches | StreamedBatches:
  """The batches of a stage's images.

  Args:
    split: the images, under the labels that the stage predicts.
    order: of the split's size.
    augment: the stage's; the result's `augment` is what of it remains for the device.
  """
  if isinstance(split, ArraySplit):
    return ArrayBatches(split, order, augment)
  assert isinstance(split, StreamedSplit)
  return StreamedBatches(split, order, left_for_device(augment), augment.random_resized_crop)


def left_for_device(augment: AugmentConfig) -> AugmentConfig:
  """What the device does to streamed images: all but random crops, which the host has cut.

  It cuts them from the whole image; the device would cut from what a first crop left.
  """
  return dataclasses.replace(augment, random_resized_crop=False)


@functools.lru_cache(maxsize=2)
def _permutation(seed: int, stage: str, epoch: int, size: int) -> Int[np.ndarray, " n"]:
  rng = np.random.default_rng([seed, name_number(stage), epoch])
  return rng.permutation(size).astype(np.int32)
