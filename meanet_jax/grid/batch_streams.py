"""What trials learn from: each source, the images of a seed and a choice of classes, read once."""

import dataclasses
from collections.abc import Generator, Sequence

import numpy as np
from jaxtyping import Int

from meanet_jax.config.stages import StageConfig
from meanet_jax.data.batches import Batch, Batches, Order
from meanet_jax.data.device_resident import ResidentImages
from meanet_jax.data.hard_images import hard_images
from meanet_jax.data.splits import Split
from meanet_jax.data.streaming import BufferAllocator, stream


@dataclasses.dataclass(frozen=True)
class Source:
  """Images in an order: trials with equal sources learn from the same batches.

  seed: of the order, and of the steps' keys. begin: the first step. steps: of the stage.
  classes: whose images these are, in increasing number; None for those of all classes.
  """

  seed: int
  begin: int
  steps: int
  classes: tuple[int, ...] | None


@dataclasses.dataclass(frozen=True)
class _ArrayStream:
  """Numbers of images in a split that stays on the devices for all sources at once."""

  order: Order
  chosen: Int[np.ndarray, " n"]
  labels: Int[np.ndarray, " n"]

  @property
  def batch_bytes(self) -> int:
    return 0  # no images travel

  def __call__(self, step: int) -> Batch:
    index, position = self.order(step)
    return {
      "index": self.chosen[index].astype(np.int32),
      "label": self.labels[index].astype(np.int32),
      "position": position,
    }


@dataclasses.dataclass(frozen=True)
class BatchStreams:
  """The batches of several sources, side by side; can be pickled for worker processes.

  workers: processes that decode images; None where the images stay on the devices.
  """

  sources: tuple[Source, ...]
  streams: tuple[_ArrayStream | Batches, ...]
  workers: int | None

  def __call__(self, taken: int, allocate: BufferAllocator = np.empty) -> Batch:
    """Arrays [sources, b, ...]: each source's batch after so many steps from its first."""
    made = [
      batch_of(min(source.begin + taken, source.steps - 1))
      for source, batch_of in zip(self.sources, self.streams, strict=True)
    ]
    together = {name: [batch[name] for batch in made] for name in made[0]}
    return {
      name: np.stack(arrays, out=allocate((len(arrays), *arrays[0].shape), arrays[0].dtype))
      for name, arrays in together.items()
    }

  def stream(self, steps: int) -> Generator[Batch, None, None]:
    """The batches of so many steps, made ahead where images are decoded."""
    if self.workers is None:
      yield from map(self, range(steps))
    else:
      size = sum(batches.batch_bytes for batches in self.streams)
      yield from stream(self, steps, self.workers, batch_bytes=size)


def make_store(train: Split) -> Batch:
  """What the devices keep for all sources: the images of a split in memory, or nothing."""
  images = train.resident_images
  return {} if images is None else {"image": ResidentImages.of(images)}


def make_batch_streams(
  sources: Sequence[Source],
  stage: str,
  settings: StageConfig,
  train: Split,
  label_maps: Sequence[Int[np.ndarray, " c"] | None],
) -> tuple[BatchStreams, StageConfig]:
  """The sources' batches, whose image numbers are those of `make_store`; what is left to augment.

  Args:
    sources: different ones.
    stage, settings: the stage's.
    train: the data set's training split.
    label_maps: of each source, None for all images under their own labels.
  """
  streams: list[_ArrayStream | Batches] = []
  resident = train.resident_images is not None
  left = settings
  for source, to_hard in zip(sources, label_maps, strict=True):
    chosen, labels = np.arange(len(train)), train.labels
    if to_hard is not None:
      chosen, labels = hard_images(train, to_hard, "train")
    order = Order.of(labels, source.seed, stage, settings)
    if resident:
      streams.append(_ArrayStream(order, chosen, labels))
    else:
      batches = train.select(chosen, labels).training_batches(order, settings.augment)
      left = dataclasses.replace(settings, augment=batches.augment)
      streams.append(batches)
  workers = None if resident else train.workers
  return BatchStreams(tuple(sources), tuple(streams), workers), left
