"""Reading every example of a split once, decoded by threads."""

import concurrent.futures
import os
from collections.abc import Callable
from typing import Any

from meanet_jax.console import Reporter
from meanet_jax.data.prepared import PreparedSet, read_examples

CHUNK = 1000  # examples whose encoded images are in memory together


def visit(
  found: PreparedSet,
  split: str,
  read: Callable[[int, dict[str, Any]], None],
  what: str,
  reporter: Reporter,
) -> None:
  """Calls `read(number, example)` for every example, its image still encoded.

  Args:
    found: the set.
    split: of it, or a slice of one.
    read: called by several threads at once: Pillow decodes without Python's lock.
    what: is being done, for the progress.
    reporter: progress.

  Raises:
    UserError: record files that are damaged, and what `read` raises.
  """
  examples = found.encoded(split)
  count = len(examples)
  with (
    concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool,
    reporter.progress(f"{what} {found.name} {split}", count) as advance,
  ):
    for start in range(0, count, CHUNK):
      numbers = range(start, min(start + CHUNK, count))
      for _ in pool.map(read, numbers, read_examples(examples, numbers, found, split)):
        pass
      advance(len(numbers), "")
