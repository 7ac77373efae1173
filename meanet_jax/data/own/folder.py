"""A folder with one sub-folder per class, optionally under train/, validation/ and test/."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from meanet_jax.data.own.files import SPLITS, ImageFiles, check_classes, shown, sorted_names
from meanet_jax.errors import UserError
from meanet_jax.log import listed

# By the names that people give them.
SPLIT_FOLDERS = {
  "train": "train",
  "training": "train",
  "validation": "validation",
  "valid": "validation",
  "val": "validation",
  "test": "test",
  "testing": "test",
}
INDEX_NAME = ".meanet_jax.images.npz"


def read_folder(root: Path) -> ImageFiles:
  """The image files below a folder.

  Files and folders whose names begin with a dot are ignored, and so are files whose names do not
  end like an image's, which is said. What lies deeper in a class folder belongs to that class.

  Args:
    root: absolute.

  Raises:
    UserError: a folder that cannot be read, fewer than two classes, or a mixture of splits and
      classes.
  """
  seen: set[str] = set()
  found: dict[str, list[tuple[str, int | None]]] = {}  # by class: path and split
  others: list[str] = []
  extensions = set(Image.registered_extensions())  # in lower case
  begin = len(os.path.join(root, ""))  # of a path below it
  splits = _split_folders(root)
  for folder, split in splits or [(root, None)]:
    for entry in _visible(folder):
      if not _is_folder(entry):
        others.append(entry.path)
        continue
      place = None if split is None else SPLITS.index(split)
      seen.add(entry.name)
      for path in _files_below(entry, set()):
        if os.path.splitext(path)[1].lower() in extensions:
          found.setdefault(entry.name, []).append((path[begin:], place))
        else:
          others.append(path)
  notes = []
  if others:
    notes.append(
      f"{len(others)} files in {shown(root)} are not in a class folder or have no image's name, "
      f"and are ignored (the first is {shown(min(others))})"
    )
  if empty := sorted(seen - set(found)):
    notes.append(f"folders without an image are ignored: {shown(listed(empty))}")
  check_classes({name: len(paths) for name, paths in found.items()}, root)
  names = sorted_names(set(found))
  rows = [(path, label, split) for label, c in enumerate(names) for path, split in sorted(found[c])]
  return ImageFiles(
    source=root,
    root=root,
    index_path=root / INDEX_NAME,
    paths=tuple(path for path, _, _ in rows),
    labels=np.array([label for _, label, _ in rows], np.int32),
    class_names=names,
    splits=np.array([split for _, _, split in rows], np.int8) if splits else None,
    notes=tuple(notes),
  )


def _split_folders(root: Path) -> list[tuple[str, str]]:
  """The folders of the splits and their names; none where the folders are classes."""
  folders = [entry for entry in _visible(root) if _is_folder(entry)]
  known = [entry for entry in folders if entry.name.lower() in SPLIT_FOLDERS]
  training = [entry for entry in known if SPLIT_FOLDERS[entry.name.lower()] == "train"]
  if not training or not any(_is_folder(entry) for entry in _visible(training[0].path)):
    return []
  if len(known) < len(folders):
    other = next(entry.name for entry in folders if entry not in known)
    raise UserError(
      f"{shown(root)} has {shown(training[0].name)} with folders in it, and also {shown(other)}; "
      "accepted: folders of classes alone, or train, validation and test alone"
    )
  splits = [SPLIT_FOLDERS[entry.name.lower()] for entry in known]
  if len(set(splits)) < len(splits):
    raise UserError(
      f"{shown(root)} has two folders of one split ({', '.join(shown(e.name) for e in known)}); "
      "accepted: one of each"
    )
  return [(entry.path, split) for entry, split in zip(known, splits, strict=True)]


def _files_below(folder: Any, above: set[tuple[int, int]]) -> Iterator[str]:
  """The files of a folder and of all below it. A link to a folder above it is not followed."""
  status = folder.stat()
  here = (status.st_dev, status.st_ino)
  if here in above:
    return
  for entry in _visible(folder.path):
    if _is_folder(entry):
      yield from _files_below(entry, above | {here})
    else:
      yield entry.path


def _visible(folder: str | Path) -> list[os.DirEntry[str]]:
  """What a folder holds, hidden names left out, in the order of names."""
  try:
    with os.scandir(folder) as entries:
      found = [entry for entry in entries if not entry.name.startswith(".")]
  except OSError as error:
    raise UserError(
      f"{shown(folder)} cannot be read: {error.strerror}; accepted: a folder of images"
    ) from error
  return sorted(found, key=lambda entry: entry.name)


def _is_folder(entry: Any) -> bool:
  """Whether an entry is a folder, or a link to one."""
  try:
    return entry.is_dir()
  except OSError:  # a link to itself
    return False
