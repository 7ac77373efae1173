"""Splits that are read from disk as they are needed: records, JPEG decoding and resizing in Grain.

This module knows no JAX, so that worker processes start fast and leave devices alone.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Generator, Iterator
from typing import Any

import grain.python as grain
import numpy as np
from absl import flags
from jaxtyping import Int, UInt8

from meanet_jax.config.schema import DatasetConfig
from meanet_jax.config.stages import AugmentConfig
from meanet_jax.data.batches import Batch, Order, left_for_device
from meanet_jax.data.decode import PixelReader
from meanet_jax.data.examples import Examples, Index, Reading, check_decodable
from meanet_jax.data.padding import padded, parts_of_batches
from meanet_jax.data.shared_memory import (
  BATCHES_PER_WORKER,
  check_shared_memory,
  lost_workers_in_one_line,
  needed_bytes,
)
from meanet_jax.data.splits import Indices
from meanet_jax.errors import UserError
from meanet_jax.images.decoding import UndecodableImageError, ignore_pillow_warnings
from meanet_jax.seeds import name_number
from meanet_jax.stopping import leave_to_parent

# From a shape and a dtype to an array. What a worker makes in Grain's shared memory is handed over
# as it lies; any other array would be copied there.
BufferAllocator = Callable[..., np.ndarray]


@dataclasses.dataclass(frozen=True)
class StreamedSplit:
  """Images that are read and decoded when they are needed.

  indices: which of the examples, in order. labels: theirs. reader: makes their pixels.
  """

  examples: Examples
  indices: Int[np.ndarray, " n"]
  labels: Int[np.ndarray, " n"]
  reader: PixelReader
  workers: int

  def __len__(self) -> int:
    return len(self.labels)

  @property
  def resident_images(self) -> None:
    """See `Split`."""
    return None

  def bytes_of(self, images: int) -> int:
    """See `Split`."""
    return images * math.prod(self.reader.shape)

  def select(self, chosen: Int[np.ndarray, " m"], labels: Int[np.ndarray, " m"]) -> "StreamedSplit":
    """See `Split`."""
    return dataclasses.replace(self, indices=self.indices[chosen], labels=labels)

  subset = select

  def images_at(
    self, indices: Indices, allocate: BufferAllocator = np.empty
  ) -> UInt8[np.ndarray, "m h w c"]:
    """See `Split`."""
    return self.decoded(
      np.asarray(indices), lambda _, encoded: self.reader.evaluated(encoded).pixels, allocate
    )

  def decoded(
    self,
    indices: Int[np.ndarray, " m"],
    to_pixels: Callable[[int, bytes], UInt8[np.ndarray, "h w c"]],
    allocate: BufferAllocator = np.empty,
  ) -> UInt8[np.ndarray, "m h w c"]:
    """The pixels that `to_pixels` makes of each image, given its place among `indices`.

    Raises:
      UserError: an example that cannot be read, or an image that cannot be decoded, by name.
    """
    return decoded(self.examples, self.indices[indices], to_pixels, allocate)

  def batches(
    self, batch_size: int, part: int = 0, parts: int = 1
  ) -> Iterator[tuple[UInt8[np.ndarray, "b h w c"], int]]:
    """See `Split`."""
    runs, sizes = zip(*parts_of_batches(len(self), batch_size, part, parts), strict=True)
    read = stream(
      _EvaluationBatch(self, runs),
      len(runs),
      self.workers,
      batch_bytes=self.bytes_of(batch_size // parts),
    )
    for images, real in zip(read, sizes, strict=True):
      yield padded(images, batch_size // parts)[0], real

  def training_batches(self, order: Order, augment: AugmentConfig) -> "StreamedBatches":
    """See `Split`."""
    return StreamedBatches(self, order, left_for_device(augment), augment.random_resized_crop)


@dataclasses.dataclass(frozen=True)
class _EvaluationBatch:
  split: StreamedSplit
  runs: tuple[range, ...]

  def __call__(
    self, batch: int, allocate: BufferAllocator = np.empty
  ) -> UInt8[np.ndarray, "m h w c"]:
    run = self.runs[batch]
    if not run:
      return np.zeros((0, *self.split.reader.shape), np.uint8)
    return self.split.images_at(run, allocate)


@dataclasses.dataclass(frozen=True)
class StreamedBatches:
  """Batches of images on disk: the images themselves, cropped and resized on the host.

  augment: what is left for the device to do; `crop`: whether a random crop is cut here.
  """

  split: StreamedSplit
  order: Order
  augment: AugmentConfig
  crop: bool

  def resident(self) -> Batch:
    """Nothing stays on the devices."""
    return {}

  @property
  def batch_bytes(self) -> int:
    """See `Batches`; labels are left out."""
    return self.split.bytes_of(self.order.batch_size // self.order.part.of)

  def __call__(self, step: int, allocate: BufferAllocator = np.empty) -> Batch:
    """`image` uint8 [b, h, w, c], `label` and place in the global batch `position`, int32 [b]."""
    index, position = self.order(step)

    def pixels(place: int, encoded: bytes) -> np.ndarray:
      if not self.crop:
        return self.split.reader.evaluated(encoded).pixels
      key = [self.order.seed, name_number(f"{self.order.stage} crops"), step, int(position[place])]
      return self.split.reader.cropped(encoded, np.random.default_rng(key))

    return {
      "image": self.split.decoded(index, pixels, allocate),
      "label": self.split.labels[index].astype(np.int32),
      "position": position,
    }

  def stream(self, begin: int, end: int) -> Generator[Batch]:
    """The batches of steps `begin` to `end` - 1, made ahead by worker processes."""
    return stream(self, end, self.split.workers, begin, batch_bytes=self.batch_bytes)


def decoded(
  examples: Examples,
  numbers: Int[np.ndarray, " m"],
  to_pixels: Callable[[int, bytes], UInt8[np.ndarray, "h w c"]],
  allocate: BufferAllocator = np.empty,
) -> UInt8[np.ndarray, "m h w c"]:
  """The pixels that `to_pixels` makes of each image, given its place among `numbers`.

  They lie where `allocate` says.

  Raises:
    UserError: an example that cannot be read, or an image that cannot be decoded, by name.
  """
  images = []
  for place, number in enumerate(map(int, numbers)):
    example = examples.read(number)
    try:
      images.append(to_pixels(place, example.image))
    except UndecodableImageError as error:
      name = examples.example_name(number, example)
      raise UserError(f"{name} cannot be decoded: {error}") from error
  return np.stack(images, out=allocate((len(images), *images[0].shape), np.uint8))


def stream(
  make: Callable[..., Any], count: int, workers: int, begin: int = 0, *, batch_bytes: int
) -> Generator[Any]:
  """`make(begin)` to `make(count - 1)` in order, made ahead of their use by worker processes.

  Args:
    make: can be pickled; gives arrays, large ones in what its `allocate` gives.
    count: one more than the last number.
    workers: processes; 0 makes everything in a thread of this one.
    begin: the first number.
    batch_bytes: of the arrays that `make` gives.

  Raises:
    UserError: as `make` raised it in a worker; shared memory too small for the
      workers' arrays; or a worker was lost.
  """
  numbers = grain.MapDataset.range(begin, count)
  if not workers:
    made = numbers.map(make)
    yield from made.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=2))
    return
  if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()  # Grain reads absl's flags, which nothing here parses
  # Nothing ahead of the buffer: what a closed stream's worker holds there is never unlinked.
  inline = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
  workers = min(workers, max(count - begin, 1))
  check_shared_memory(needed_bytes(batch_bytes, count - begin, workers), workers)
  options = grain.MultiprocessingOptions(
    num_workers=workers, per_worker_buffer_size=BATCHES_PER_WORKER
  )
  made = numbers.map(functools.partial(_in_worker, make))
  with lost_workers_in_one_line(workers):
    yield from made.to_iter_dataset(inline).mp_prefetch(options, _begin_worker)


def _begin_worker(number: int, count: int) -> None:  # noqa: ARG001 - Grain's signature
  leave_to_parent()


def _in_worker(make: Callable[..., Any], number: int) -> Any:
  ignore_pillow_warnings()  # a worker does not inherit the command's filters
  return make(number, allocate=grain.SharedMemoryArray)


def streamed(
  examples: Examples, index: Index, config: DatasetConfig, reader: PixelReader, workers: int
) -> Reading:
  """A split whose images are read when they are needed.

  Args:
    examples: of the split.
    index: theirs.
    config: what becomes of undecodable images.
    reader: makes pixels of images.
    workers: processes that decode.

  Raises:
    UserError: an undecodable image.
  """
  bad = index.undecodable

  def first() -> str:
    try:
      decoded(examples, bad[:1], lambda _, encoded: reader.evaluated(encoded).pixels)
    except UserError as error:
      return str(error)
    return f"image {bad[0]} of {examples.name} could not be decoded when it was indexed"

  check_decodable(len(bad), len(index.labels), config, first)
  kept = np.setdiff1d(np.arange(len(index.labels)), bad)
  split = StreamedSplit(examples, kept, index.labels[kept], reader, workers)
  return Reading(split, len(bad), index.deep)
