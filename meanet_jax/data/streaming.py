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
from meanet_jax.data.decode import PixelReader
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.data.shared_memory import (
  BATCHES_PER_WORKER,
  check_room,
  lost_workers_in_one_line,
  needed_bytes,
)
from meanet_jax.data.splits import Numbers, padded, parts_of_batches
from meanet_jax.data.tfds.index import split_index
from meanet_jax.data.tfds.iterate import Reading, check_decodable
from meanet_jax.data.tfds.prepared import PreparedSet, read_example
from meanet_jax.errors import UserError
from meanet_jax.images.decoding import UndecodableImageError, ignore_pillow_warnings
from meanet_jax.stopping import leave_to_parent

# From a shape and a dtype to an array. What a worker makes in Grain's shared memory is handed over
# as it lies; any other array would be copied there.
Room = Callable[..., np.ndarray]


@dataclasses.dataclass(frozen=True)
class Records:
  """The encoded images of one split of a prepared set, and how to name them."""

  found: PreparedSet
  split: str
  examples: Any

  def decoded(
    self,
    numbers: Numbers,
    to_pixels: Callable[[int, bytes], UInt8[np.ndarray, "h w c"]],
    room: Room = np.empty,
  ) -> UInt8[np.ndarray, "m h w c"]:
    """The pixels that `to_pixels` makes of each image, given its place among `numbers`.

    They lie where `room` says.

    Raises:
      UserError: damaged records, or an image that cannot be decoded, by name.
    """
    images = []
    for place, number in enumerate(map(int, numbers)):
      example = read_example(self.examples, number, self.found, self.split)
      try:
        images.append(to_pixels(place, example.image))
      except UndecodableImageError as error:
        name = self.found.example_name(self.split, number, example)
        raise UserError(f"{name} cannot be decoded: {error}") from error
    return np.stack(images, out=room((len(images), *images[0].shape), np.uint8))


@dataclasses.dataclass(frozen=True)
class StreamedSplit:
  """Images of a prepared set, read and decoded when they are needed.

  numbers: which images of the records, in order. labels: theirs. reader: makes their pixels.
  """

  records: Records
  numbers: Int[np.ndarray, " n"]
  labels: Int[np.ndarray, " n"]
  reader: PixelReader
  workers: int

  def __len__(self) -> int:
    return len(self.labels)

  def select(self, chosen: Int[np.ndarray, " m"], labels: Int[np.ndarray, " m"]) -> "StreamedSplit":
    """See `Split`."""
    return dataclasses.replace(self, numbers=self.numbers[chosen], labels=labels)

  def images_at(self, numbers: Numbers, room: Room = np.empty) -> UInt8[np.ndarray, "m h w c"]:
    """See `Split`."""
    return self.records.decoded(
      self.numbers[np.asarray(numbers)],
      lambda _, encoded: self.reader.evaluated(encoded).pixels,
      room,
    )

  def bytes_of(self, images: int) -> int:
    """What so many decoded images take."""
    return images * math.prod(self.reader.shape)

  def batches(
    self, batch_size: int, part: int = 0, parts: int = 1
  ) -> Iterator[tuple[UInt8[np.ndarray, "b h w c"], int]]:
    """See `Split`."""
    numbers, sizes = zip(*parts_of_batches(len(self), batch_size, part, parts), strict=True)
    read = stream(
      _EvaluationBatch(self, numbers),
      len(numbers),
      self.workers,
      batch_bytes=self.bytes_of(batch_size // parts),
    )
    for images, real in zip(read, sizes, strict=True):
      yield padded(images, batch_size // parts)[0], real


@dataclasses.dataclass(frozen=True)
class _EvaluationBatch:
  split: StreamedSplit
  numbers: tuple[range, ...]

  def __call__(self, batch: int, room: Room = np.empty) -> UInt8[np.ndarray, "m h w c"]:
    numbers = self.numbers[batch]
    if not numbers:
      return np.zeros((0, *self.split.reader.shape), np.uint8)
    return self.split.images_at(numbers, room)


def stream(
  make: Callable[..., Any], count: int, workers: int, begin: int = 0, *, batch_bytes: int
) -> Generator[Any]:
  """`make(begin)` to `make(count - 1)` in order, made ahead of their use by worker processes.

  Args:
    make: can be pickled; gives arrays, large ones in the `room` that it is given.
    count: one more than the last number.
    workers: processes; 0 makes everything in a thread of this one.
    begin: the first number.
    batch_bytes: of the arrays that `make` gives.

  Raises:
    UserError: as `make` raised it in a worker; no room for the workers' arrays in shared memory; or
      a worker was lost.
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
  check_room(needed_bytes(batch_bytes, count - begin, workers), workers)
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
  return make(number, room=grain.SharedMemoryArray)


def open_stream(
  found: PreparedSet,
  name: str,
  config: DatasetConfig,
  reader: PixelReader,
  options: ReadOptions,
) -> Reading:
  """A split of a prepared set, whose images are read when they are needed.

  Args:
    found: the set.
    name: the split, or a slice of one.
    config: what becomes of undecodable images.
    reader: makes pixels of images.
    options: worker processes.

  Raises:
    UserError: a damaged record file, a label that is no class, or an undecodable image.
  """
  index = split_index(found, name, reader)
  records = Records(found, name, found.records(name))
  bad = index.undecodable

  def first() -> str:
    try:
      records.decoded(bad[:1], lambda _, encoded: reader.evaluated(encoded).pixels)
    except UserError as error:
      return str(error)
    return f"image {bad[0]} of {found.name} {name} could not be decoded when it was indexed"

  check_decodable(len(bad), len(index.labels), config, first)
  kept = np.setdiff1d(np.arange(len(index.labels)), bad)
  split = StreamedSplit(records, kept, index.labels[kept], reader, options.workers)
  return Reading(split, len(bad), int(index.deep))
