"""The images of a stream, one after another: files, or the test split of a data set."""

import dataclasses
import glob
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from meanet_jax.edge.decode import decode_file
from meanet_jax.edge.manifest import Manifest
from meanet_jax.errors import UserError
from meanet_jax.images.decoding import pillow
from meanet_jax.images.preprocessing import WHOLE, Preprocessing

_READ_AHEAD = 256  # images of a data set that are read together


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
  """Image files as `read_image` reads them; one that cannot be read is an item with an error.

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
  paths = sorted(glob.glob(pattern, recursive=True))
  if not paths:
    raise UserError(f"--images {pattern!r} matches no file; accepted: a pattern of image files")
  return paths


def from_dataset(name: str, data_dir: str | None, manifest: Manifest) -> Images:
  """The test split of a data set, split as the export's configuration says.

  It is read by `meanet_jax/data`, which needs no JAX, but packages that a device may not have. Its
  images are preprocessed as `edge.json` records, like files; as the set itself is evaluated, where
  an earlier version recorded nothing.

  Raises:
    UserError: a package that is missing, a set that is not there, or one of other classes.
  """
  try:
    from meanet_jax import log
    from meanet_jax.data.read_options import ReadOptions
    from meanet_jax.data.sources import load_test
  except ModuleNotFoundError as error:
    raise UserError(
      f"--dataset reads with packages of which {error.name} is not installed; accepted: "
      "pip install absl-py array-record grain importlib-resources jaxtyping pillow rich "
      "scikit-learn tensorflow-datasets, or --images"
    ) from error
  config = dataclasses.replace(manifest.dataset, name=name)
  log.to_stderr()  # beside the answers
  class_names, split = load_test(config, ReadOptions(data_dir), manifest.preprocessing)
  if class_names != manifest.class_names:
    raise UserError(
      f"--dataset {name} has classes {_few(class_names)}; "
      f"accepted: those of the export, {_few(manifest.class_names)}"
    )

  def items() -> Iterator[Item]:
    for start in range(0, len(split), _READ_AHEAD):
      numbers = range(start, min(start + _READ_AHEAD, len(split)))
      for number, image in zip(numbers, split.images_at(numbers), strict=True):
        yield Item(number, image, label=int(split.labels[number]))

  return Images(len(split), items())


def _few(names: Sequence[str]) -> str:
  return ", ".join(names[:3]) + (f", ... ({len(names)})" if len(names) > 3 else "")
