"""Training batches: which images step s sees.

The batch at step s is a function of (seed, stage, s) alone: each epoch goes once through an order
drawn from (seed, stage, epoch), and leaves out its last incomplete batch.

This module loads no JAX, so that worker processes start fast and leave devices alone.
"""

import dataclasses
import itertools
from collections.abc import Generator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, UInt8

from meanet_jax.config.stages import AugmentConfig, StageConfig
from meanet_jax.data.sampling import Labels, balanced_order, uniform_order
from meanet_jax.errors import UserError
from meanet_jax.seeds import name_number

Batch = dict[str, Any]  # NumPy or JAX arrays by name

# So many steps' image numbers go to the devices at once: a transfer for each step takes as long as
# 3 to 5% of a step of the digits, which takes a millisecond.
BLOCK = 64


def check_split_size(
  images: int, settings: StageConfig, stage: str, what: str = "the stage's number of images"
) -> None:
  """Refuses a batch that is larger than the images of its stage, if it takes any step.

  Raises:
    UserError: with `what` there are at most.
  """
  if settings.epochs and images < settings.batch_size:
    raise UserError(
      f"stages.{stage}.batch_size is {settings.batch_size}; accepted: at most {images}, {what}"
    )


def steps_per_epoch(images: int, batch_size: int) -> int:
  """Complete batches of so many images."""
  return images // batch_size


class Part(NamedTuple):
  """The share of every batch that a process reads: part `number`, from 0, of `of` equal ones."""

  number: int = 0
  of: int = 1


ALONE = Part()


@dataclasses.dataclass(frozen=True)
class Order:
  """Which images make up the batch of each step.

  size: of the split. seed, stage: what the epochs' orders are drawn from. batch_size: global.
  part: of every batch, a run of neighbouring places. balanced: the split's labels where every class
  is shown as often as the others; None where every image is shown once.
  """

  size: int
  seed: int
  stage: str
  batch_size: int
  part: Part = ALONE
  balanced: Labels | None = None
  # The last epoch that was asked for, and its images. Each order has its own: trials of a grid ask
  # in turn.
  _newest: dict[int, Int[np.ndarray, " n"]] = dataclasses.field(
    default_factory=dict, init=False, repr=False, compare=False
  )

  @classmethod
  def of(
    cls,
    labels: Int[np.ndarray, " n"],
    seed: int,
    stage: str,
    settings: StageConfig,
    part: Part = ALONE,
  ) -> "Order":
    """The order that a stage's `sampling` asks for.

    Args:
      labels: of the images that it learns from.
      seed, stage, part: see the class.
      settings: the stage's.

    Raises:
      UserError: a batch larger than the images.
    """
    check_split_size(len(labels), settings, stage)
    balanced = Labels(labels) if settings.sampling == "balanced" else None
    return cls(len(labels), seed, stage, settings.batch_size, part, balanced)

  @property
  def steps_per_epoch(self) -> int:
    """Complete batches in the split."""
    return steps_per_epoch(self.size, self.batch_size)

  def __call__(self, step: int) -> tuple[Int[np.ndarray, " b"], Int[np.ndarray, " b"]]:
    """Image numbers, and their places in the global batch; both int32."""
    epoch, within = divmod(step, self.steps_per_epoch)
    share = self.batch_size // self.part.of
    begin = self.part.number * share
    places = np.arange(begin, begin + share, dtype=np.int32)
    return self._epoch(epoch)[within * self.batch_size + places], places

  def _epoch(self, epoch: int) -> Int[np.ndarray, " n"]:
    order = self._newest.get(epoch)
    if order is None:
      rng = np.random.default_rng([self.seed, name_number(self.stage), epoch])
      if self.balanced is None:
        order = uniform_order(rng, self.size)
      else:
        order = balanced_order(rng, self.balanced)
      self._newest.clear()
      self._newest[epoch] = order
    return order


@runtime_checkable
class Batches(Protocol):
  """The batches of a stage's images; `Split.training_batches` makes them."""

  @property
  def order(self) -> Order:
    """Which images each step sees."""
    ...

  @property
  def augment(self) -> AugmentConfig:
    """What is left for the device to do."""
    ...

  def resident(self) -> Batch:
    """The device-resident dataset: `image` (`ResidentImages`) and `label` (int32 [n]), or nothing
    where batches bring their images.
    """
    ...

  @property
  def batch_bytes(self) -> int:
    """What the images of this process's part of a batch take; 0 where batches bring none."""
    ...

  def __call__(self, step: int) -> Batch:
    """The batch of one step."""
    ...

  def stream(self, begin: int, end: int) -> Generator[Batch]:
    """The batches of steps `begin` to `end` - 1."""
    ...


@dataclasses.dataclass(frozen=True)
class ArrayBatches:
  """Batches of a split in memory: image numbers. The images stay on the devices (`resident`).

  images, labels: of the device-resident dataset. indices: of the split's images in it. Of a subset
  all images of its split are there. They are in the stage main anyway; and what a TPU's compiler
  takes for small enough, as CIFAR-100's images of hard classes alone are, it copies into on-chip
  memory at every step.
  """

  images: UInt8[np.ndarray, "n h w c"]
  labels: Int[np.ndarray, " n"]
  indices: Int[np.ndarray, " m"]
  order: Order
  augment: AugmentConfig

  def resident(self) -> Batch:
    """See `Batches`. The label of an image that the split has not is -1."""
    # Here, because workers and devices without JAX import this module.
    from meanet_jax.data.device_resident import ResidentImages

    return {"image": ResidentImages.of(self.images), "label": self.labels}

  @property
  def batch_bytes(self) -> int:
    """No images travel."""
    return 0

  def __call__(self, step: int) -> Batch:
    """`index` into the resident dataset and place in the global batch `position`, int32 [b]."""
    index, position = self.order(step)
    return {"index": self.indices[index], "position": position}

  def stream(self, begin: int, end: int) -> Generator[Batch]:
    """For each of the steps `begin` to `end` - 1 what `parallel.fetch` takes its batch from.

    That is one and the same object for all steps of a block, those s of the same s // BLOCK: image
    numbers `index` int32 [b, BLOCK], and the places `position` int32 [b] that all of them have.
    """
    for block, steps in itertools.groupby(range(begin, end), lambda step: step // BLOCK):
      orders = [self.order(step) for step in range(block * BLOCK, (block + 1) * BLOCK)]
      index = self.indices[np.stack([index for index, _ in orders], axis=1)]
      made = {"index": index, "position": orders[0][1]}
      for _ in steps:
        yield made


def left_for_device(augment: AugmentConfig) -> AugmentConfig:
  """What the device does to streamed images: all but random crops, which the host has cut.

  It cuts them from the decoded image; the device would cut from what a first crop left.
  """
  return dataclasses.replace(augment, random_resized_crop=False)
