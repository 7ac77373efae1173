"""What every form of own image files comes to: paths, labels, and perhaps splits."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

from meanet_jax.data.examples import Example
from meanet_jax.data.own.stores import ImageStore
from meanet_jax.errors import UserError

SPLITS = ("train", "validation", "test")
# By the names that people give them.
SPLIT_NAMES = {
  "train": "train",
  "training": "train",
  "validation": "validation",
  "valid": "validation",
  "val": "validation",
  "test": "test",
  "testing": "test",
}


@dataclasses.dataclass(frozen=True)
class ImageFiles:
  """Image files of several classes, in a fixed order.

  source: the folder or file that names them. store: has the images of `paths`. index_path: where
  what reading them finds is kept. labels: int32 [n]. splits: int8 [n], places in `SPLITS`; None
  where none are given. groups: [n], names of what belongs into one split; None where none are
  given. notes: lines for the user, of what was left out.
  """

  source: Path
  store: ImageStore
  index_path: Path
  paths: tuple[str, ...]
  labels: Int[np.ndarray, " n"]
  class_names: tuple[str, ...]
  splits: Int[np.ndarray, " n"] | None
  groups: np.ndarray | None = None
  notes: tuple[str, ...] = ()

  def select(self, chosen: Int[np.ndarray, " m"]) -> "ImageFiles":
    """The files of these indices."""
    return dataclasses.replace(
      self,
      paths=tuple(self.paths[number] for number in chosen),
      labels=self.labels[chosen],
      splits=None if self.splits is None else self.splits[chosen],
      groups=None if self.groups is None else self.groups[chosen],
    )


@dataclasses.dataclass(frozen=True)
class FileExamples:
  """Image files as examples; see `Examples`."""

  name: str
  store: ImageStore
  paths: tuple[str, ...]
  labels: Int[np.ndarray, " n"]

  @classmethod
  def of(cls, files: ImageFiles, name: str) -> "FileExamples":
    """All files, named `name` together."""
    return cls(name, files.store, files.paths, files.labels)

  def __len__(self) -> int:
    return len(self.paths)

  def read(self, number: int) -> Example:
    """See `Examples`.

    Raises:
      UserError: the file cannot be read.
    """
    path = self.paths[number]
    try:
      image = self.store.read(path)
    except OSError as error:
      raise UserError(
        f"{shown(self.store.name(path))} cannot be read: {error.strerror or error}"
      ) from error
    return Example(image, int(self.labels[number]), path)

  def example_name(self, number: int, example: Example) -> str:  # noqa: ARG002 - of the protocol
    """See `Examples`."""
    return shown(self.store.name(self.paths[number]))


def split_place(name: str, where: str) -> int:
  """The place in `SPLITS` of a split's name.

  Raises:
    UserError: there is none; `where` says that something has it.
  """
  split = SPLIT_NAMES.get(name.lower())
  if split is None:
    raise UserError(f"{where} {shown(name)!r}; accepted: {', '.join(SPLITS)}")
  return SPLITS.index(split)


def shown(name: str | Path) -> str:
  """A name on one line: as it is, or quoted with escapes where it cannot be printed."""
  text = str(name)
  return text if text.isprintable() else ascii(text)


def sorted_names(names: set[str]) -> tuple[str, ...]:
  """Class names in order: by number where all are whole numbers, otherwise as text.

  Raises:
    UserError: a name that is empty or cannot be printed.
  """
  for name in sorted(names):
    if not name.strip() or not name.isprintable():
      found = "has characters that cannot be printed" if name.strip() else "is empty"
      raise UserError(f"class name {name!a} {found}; accepted: letters, digits, spaces and signs")
  numbers = all(name.isdecimal() for name in names)
  return tuple(sorted(names, key=lambda name: (int(name) if numbers else 0, name)))


def check_classes(counts: dict[str, int], source: Path, left_out: Sequence[str] = ()) -> None:
  """Refuses fewer than two classes.

  Args:
    counts: images by class name.
    source: where they are from.
    left_out: lines about what is no image.

  Raises:
    UserError: with what was found.
  """
  if len(counts) >= 2:
    return
  found = (
    "no image"
    if not counts
    else "images of one class alone ({}: {})".format(*next(iter(counts.items())))
  )
  besides = f" ({'; '.join(left_out)})" if left_out else ""
  raise UserError(
    f"{shown(source)} has {found}{besides}; accepted: images of at least two classes, each class "
    "in a folder of its own, in a CSV or Parquet file with the columns path and label, or in arrays"
  )
