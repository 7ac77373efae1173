"""Where the bytes of own images lie: in files of their own, or inside larger files (`arrow.py`)."""

import dataclasses
import itertools
import operator
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int


@runtime_checkable
class ImageStore(Protocol):
  """Encoded images by path. It can be pickled for worker processes."""

  def read(self, path: str) -> bytes:
    """The image of this path.

    Raises:
      OSError: it cannot be read.
    """
    ...

  def status(self, paths: Sequence[str]) -> Int[np.ndarray, "n 3"]:
    """What is other for a path whose image has changed; -1 where that is not known."""
    ...

  def name(self, path: str) -> str:
    """How an image is named to a person, in full."""
    ...


@dataclasses.dataclass(frozen=True)
class FileStore:
  """Image files; their paths are absolute, or relative to `root`."""

  root: Path

  def read(self, path: str) -> bytes:
    """See `ImageStore`."""
    return (self.root / path).read_bytes()

  def status(self, paths: Sequence[str]) -> Int[np.ndarray, "n 3"]:
    """Size and times of last change; the second moves even where the first is set back.

    -1 for a link that leads nowhere: reading it says so.
    """
    columns = operator.attrgetter("st_size", "st_mtime_ns", "st_ctime_ns")
    root = os.path.join(self.root, "")
    full = [path if path[0] == "/" else root + path for path in paths]
    try:
      return _rows(map(columns, map(os.stat, full)), len(paths))
    except OSError:
      return _rows(map(_status_or_none, full), len(paths))

  def name(self, path: str) -> str:
    """See `ImageStore`."""
    return str(self.root / path)


def file_status(path: str | Path) -> tuple[int, int, int]:
  """The status of one file, as `FileStore.status` gives it.

  Raises:
    OSError: there is none.
  """
  status = os.stat(path)
  return (status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _status_or_none(path: str) -> tuple[int, int, int]:
  try:
    return file_status(path)
  except OSError:
    return (-1, -1, -1)


def _rows(rows: Iterable[tuple[int, int, int]], count: int) -> Int[np.ndarray, "n 3"]:
  return np.fromiter(itertools.chain.from_iterable(rows), np.int64, 3 * count).reshape(-1, 3)
