"""Reading every example of a split once, decoded by threads."""

import concurrent.futures
import os
from collections.abc import Callable
from typing import NamedTuple

from meanet_jax import log
from meanet_jax.config.schema import DatasetConfig
from meanet_jax.data.splits import Split
from meanet_jax.data.tfds.prepared import Example, PreparedSet, read_example
from meanet_jax.errors import UserError

CHUNK = 1000  # examples between two signs of progress


class Reading(NamedTuple):
  """What was found in a split. skipped: images left out as undecodable. deep: images of more than 8
  bits per channel, of which the upper 8 are kept.
  """

  split: Split
  skipped: int
  deep: int


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


def iterate_examples(
  found: PreparedSet,
  split: str,
  read: Callable[[int, Example], None],
  what: str,
) -> None:
  """Calls `read(number, example)` for every example, its image still encoded.

  Args:
    found: the set.
    split: of it, or a slice of one.
    read: called by several threads at once: images are decoded without Python's lock.
    what: is being done, for the progress.

  Raises:
    UserError: record files that are damaged, and what `read` raises.
  """
  records = found.records(split)
  count = len(records)

  def read_one(number: int) -> None:
    read(number, read_example(records, number, found, split))

  with (
    concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool,
    log.progress(f"{what} {found.name} {split}", count) as advance,
  ):
    for start in range(0, count, CHUNK):
      numbers = range(start, min(start + CHUNK, count))
      for _ in pool.map(read_one, numbers):
        pass
      advance(len(numbers), "")
