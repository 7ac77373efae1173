"""The images of a stream, one after another, from image files."""

import glob
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from meanet_jax.edge.decode import decode_file
from meanet_jax.errors import UserError
from meanet_jax.images.decoding import pillow
from meanet_jax.images.preprocessing import WHOLE, Preprocessing


class Item(NamedTuple):
  """number: of the image in its stream, from 0. path: of a file. image: uint8 [h, w, c], or None
  with the `error` that keeps it from being read. label: original class number, where it is known.
  deep: whether the file had more than 8 bits per channel, of which the upper 8 are used.
  """

  number: int
  image: np.ndarray | None
  path: str | None = None
  label: int | None = None
  error: str | None = None
  deep: bool = False


class Images(NamedTuple):
  """A stream of known length. The items come once."""

  size: int
  items: Iterator[Item]


def from_files(
  paths: Sequence[str], shape: tuple[int, int, int], preprocessing: Preprocessing = WHOLE
) -> Images:
  """Image files as `decode_file` reads them; one that cannot be read is an item with an error.

  Raises:
    UserError: Pillow is not installed.
  """
  pillow()

  def items() -> Iterator[Item]:
    for number, path in enumerate(paths):
      try:
        pixels, deep = decode_file(path, shape, preprocessing)
      except UserError as error:
        yield Item(number, None, path, error=str(error))
      else:
        yield Item(number, pixels, path, deep=deep)

  return Images(len(paths), items())


def matching(pattern: str) -> list[str]:
  """The files that a pattern names, sorted; `**` goes through directories.

  Raises:
    UserError: there is none.
  """
  paths = sorted(path for path in glob.glob(pattern, recursive=True) if not os.path.isdir(path))
  if not paths:
    raise UserError(f"--images {pattern!r} matches no file; accepted: a pattern of image files")
  return paths
