"""What trials learn from: each source, the images of a seed and a choice of classes, read once."""

import dataclasses
from collections.abc import Callable, Generator, Sequence

import numpy as np
from jaxtyping import Int

from meanet_jax.config.schema import StageConfig
from meanet_jax.data.batches import Batch, Order, StreamedBatches, training_batches
from meanet_jax.data.device_resident import ResidentImages
from meanet_jax.data.hard_images import hard_images
from meanet_jax.data.splits import ArraySplit, Split
from meanet_jax.data.streaming import Room, StreamedSplit, stream


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

  def __call__(self, step: int) -> Batch:
    index, position = self.order(step)
    return {
      "index": self.chosen[index].astype(np.int32),
      "label": self.labels[index].astype(np.int32),
      "position": position,
    }


@dataclasses.dataclass(frozen=True)
class BatchStreams:
  """The batches of several sources, side by side; can be pickled for worker processes."""

  sources: tuple[Source, ...]
  streams: tuple[Callable[[int], Batch], ...]
  workers: int

  def __call__(self, taken: int, room: Room = np.empty) -> Batch:
    """Arrays [sources, b, ...]: each source's batch after so many steps from its first."""
    made = [
      batch_of(min(source.begin + taken, source.steps - 1))
      for source, batch_of in zip(self.sources, self.streams, strict=True)
    ]
    together = {name: [batch[name] for batch in made] for name in made[0]}
    return {
      name: np.stack(arrays, out=room((len(arrays), *arrays[0].shape), arrays[0].dtype))
      for name, arrays in together.items()
    }

  def stream(self, steps: int) -> Generator[Batch, None, None]:
    """The batches of so many steps, made ahead where images are decoded."""
    if self.workers < 0:
      yield from map(self, range(steps))
    else:
      size = sum(s.batch_bytes for s in self.streams if isinstance(s, StreamedBatches))
      yield from stream(self, steps, self.workers, batch_bytes=size)


def make_store(train: Split) -> Batch:
  """What the devices keep for all sources: the images of a split in memory, or nothing."""
  return {"image": ResidentImages.of(train.images)} if isinstance(train, ArraySplit) else {}


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
  streams: list[Callable[[int], Batch]] = []
  left = settings
  for source, to_hard in zip(sources, label_maps, strict=True):
    chosen, labels = np.arange(len(train)), train.labels
    if to_hard is not None:
      chosen, labels = hard_images(train, to_hard, "train")
    order = Order(len(chosen), source.seed, stage, settings.batch_size)
    if isinstance(train, ArraySplit):
      streams.append(_ArrayStream(order, chosen, labels))
    else:
      batches = training_batches(train.select(chosen, labels), order, settings.augment)
      left = dataclasses.replace(settings, augment=batches.augment)
      streams.append(batches)
  workers = train.workers if isinstance(train, StreamedSplit) else -1
  return BatchStreams(tuple(sources), tuple(streams), workers), left
