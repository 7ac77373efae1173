"""The encoded images of one split, wherever they come from, and what reading all of them finds."""

import concurrent.futures
import os
from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from meanet_jax import log
from meanet_jax.config.schema import DatasetConfig
from meanet_jax.data.splits import Split
from meanet_jax.errors import UserError

CHUNK = 1000  # examples between two signs of progress


class Example(NamedTuple):
  """image: encoded. file_name: "" where a set has none."""

  image: bytes
  label: int
  file_name: str


@runtime_checkable
class Examples(Protocol):
  """The examples of one split in a fixed order. They can be pickled for worker processes."""

  @property
  def name(self) -> str:
    """Of the data set and the split, for messages."""
    ...

  def __len__(self) -> int: ...

  def read(self, number: int) -> Example:
    """The example of this number.

    Raises:
      UserError: it cannot be read from its file.
    """
    ...

  def example_name(self, number: int, example: Example) -> str:
    """How an example is named to a person."""
    ...


class Index(NamedTuple):
  """labels: int32 [n]. undecodable: numbers of images that are damaged, increasing. deep: how many
  have more than 8 bits per channel.
  """

  labels: Int[np.ndarray, " n"]
  undecodable: Int[np.ndarray, " m"]
  deep: int


class Reading(NamedTuple):
  """What was found in a split. skipped: images left out as undecodable. deep: images of more than 8
  bits per channel, of which the upper 8 are kept.
  """

  split: Split
  skipped: int
  deep: int


def report_reading(reading: Reading, name: str) -> None:
  """Says what of a split is left out or converted."""
  if reading.skipped:
    log.logger.info(f"{name}: {reading.skipped} images cannot be decoded and are left out")
  if reading.deep:
    log.logger.info(
      f"{name}: {reading.deep} images have more than 8 bits per channel; the upper 8 are used"
    )


def check_decodable(bad: int, count: int, config: DatasetConfig, first: Callable[[], str]) -> None:
  """Refuses a split with undecodable images, or one without any other if they are to be skipped.

  Args:
    bad, count: undecodable images, and all.
    config: what becomes of undecodable images.
    first: says what is wrong with the first of them.

  Raises:
    UserError: naming that one.
  """
  if bad and (config.undecodable == "error" or bad == count):
    accepted = "images, or dataset.undecodable = 'skip'" if bad < count else "images"
    raise UserError(f"{first()} ({bad} of {count} images); accepted: {accepted}")


def iterate_examples(examples: Examples, read: Callable[[int, Example], None], what: str) -> None:
  """Calls `read(number, example)` for every example, its image still encoded.

  Args:
    examples: of a split.
    read: called by several threads at once: images are decoded without Python's lock.
    what: is being done, for the progress.

  Raises:
    UserError: an example that cannot be read, and what `read` raises.
  """

  def read_one(number: int) -> None:
    read(number, examples.read(number))

  read_all(len(examples), read_one, f"{what} {examples.name}")


def read_all(count: int, read: Callable[[int], None], title: str) -> None:
  """Calls `read` for 0 to `count` - 1 by several threads at once, with a sign of progress."""
  with (
    concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool,
    log.progress(title, count) as advance,
  ):
    for start in range(0, count, CHUNK):
      numbers = range(start, min(start + CHUNK, count))
      for _ in pool.map(read, numbers):
        pass
      advance(len(numbers), "")


def checked_labels(
  labels: Int[np.ndarray, " n"], num_classes: int, examples: Examples
) -> Int[np.ndarray, " n"]:
  """The labels as int32.

  Raises:
    UserError: a label that is no class number, with the first image concerned.
  """
  wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
  if len(wrong):
    raise UserError(
      f"image {wrong[0]} of {examples.name} has label {labels[wrong[0]]}; "
      f"accepted: 0 to {num_classes - 1}"
    )
  return labels.astype(np.int32)
