"""A folder with one sub-folder per class, optionally under train/, validation/ and test/."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from meanet_jax.data.own.files import (
  SPLIT_NAMES,
  SPLITS,
  ImageFiles,
  check_classes,
  shown,
  sorted_names,
)
from meanet_jax.data.own.stores import FileStore
from meanet_jax.errors import UserError
from meanet_jax.log import listed

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
  found: dict[str, list[tuple[int, list[str]]]] = {}  # by class: places of splits, and paths
  others: list[str] = []
  # In lower case; the usual ones first, for they are compared one after another. Pillow writes PDF,
  # for one, and does not read it.
  known = Image.registered_extensions().items()
  readable = [ending for ending, form in known if form in Image.OPEN]
  endings = (".jpg", ".jpeg", ".png", *readable)
  splits = _split_folders(root)
  status = root.stat()
  above_all = frozenset({(status.st_dev, status.st_ino)})
  for folder, split in splits or [(root, None)]:
    above = "" if split is None else f"{folder.name}/"
    place = 0 if split is None else SPLITS.index(split)
    for entry in _visible(folder):
      if not _is_folder(entry):
        others.append(above + entry.name)
        continue
      seen.add(entry.name)
      images: list[str] = []
      for path, names in _files_below(entry, above + entry.name, above_all):
        chosen = [path + name for name in names if name.endswith(endings)]
        if len(chosen) < len(names):  # or in capitals
          chosen = [path + name for name in names if name.lower().endswith(endings)]
          others += [path + name for name in names if not name.lower().endswith(endings)]
        images += chosen
      if images:
        found.setdefault(entry.name, []).append((place, images))
  notes = []
  if others:
    notes.append(
      f"{len(others)} files in {shown(root)} are not in a class folder or have no image's name, "
      f"and are ignored (the first is {shown(root / min(others))})"
    )
  if empty := sorted(seen - set(found)):
    notes.append(f"folders without an image are ignored: {shown(listed(empty))}")
  counts = {name: sum(len(paths) for _, paths in parts) for name, parts in found.items()}
  check_classes(counts, root, notes)
  names = sorted_names(set(found))
  parts = [part for name in names for part in sorted(found[name], key=lambda part: part[1][0])]
  sizes = [len(paths) for _, paths in parts]
  return ImageFiles(
    source=root,
    store=FileStore(root),
    index_path=root / INDEX_NAME,
    paths=tuple(path for _, paths in parts for path in sorted(paths)),
    labels=np.repeat(np.arange(len(names), dtype=np.int32), [counts[name] for name in names]),
    class_names=names,
    splits=np.repeat(np.array([place for place, _ in parts], np.int8), sizes) if splits else None,
    notes=tuple(notes),
  )


def _split_folders(root: Path) -> list[tuple[Path, str]]:
  """The folders of the splits and their names; none where the folders are classes."""
  entries = sorted(_visible(root), key=lambda entry: entry.name)
  folders = [entry for entry in entries if _is_folder(entry)]
  known = [entry for entry in folders if entry.name.lower() in SPLIT_NAMES]
  training = [entry for entry in known if SPLIT_NAMES[entry.name.lower()] == "train"]
  if not training or not any(_is_folder(entry) for entry in _visible(training[0].path)):
    return []
  if len(known) < len(folders):
    other = next(entry.name for entry in folders if entry not in known)
    raise UserError(
      f"{shown(root)} has {shown(training[0].name)} with folders in it, and also {shown(other)}; "
      "accepted: folders of classes alone, or train, validation and test alone"
    )
  splits = [SPLIT_NAMES[entry.name.lower()] for entry in known]
  if len(set(splits)) < len(splits):
    raise UserError(
      f"{shown(root)} has two folders of one split ({', '.join(shown(e.name) for e in known)}); "
      "accepted: one of each"
    )
  return [(root / entry.name, split) for entry, split in zip(known, splits, strict=True)]


def _files_below(
  folder: Any, path: str, above: frozenset[tuple[int, int]]
) -> Iterator[tuple[str, list[str]]]:
  """The files of a folder and of all below it: the path of each folder, with a / behind it, and the
  names in it. A link to a folder above it is not followed.

  This is what an index of many files takes its time for, beside `stat`: per file it does no more
  than it must.
  """
  status = folder.stat()
  here = (status.st_dev, status.st_ino)
  if here in above:
    return
  entries = _visible(folder.path)
  try:
    folders = [entry for entry in entries if entry.is_dir()]
  except OSError:  # a link to itself
    folders = [entry for entry in entries if _is_folder(entry)]
  names = [entry.name for entry in entries]
  if folders:
    not_files = {entry.name for entry in folders}
    names = [name for name in names if name not in not_files]
  yield f"{path}/", names
  for entry in folders:
    yield from _files_below(entry, f"{path}/{entry.name}", above | {here})


def _visible(folder: str | Path) -> list[os.DirEntry[str]]:
  """What a folder holds, in no order; hidden names are left out."""
  try:
    with os.scandir(folder) as entries:
      return [entry for entry in entries if entry.name[0] != "."]
  except OSError as error:
    raise UserError(
      f"{shown(folder)} cannot be read: {error.strerror}; accepted: a folder of images"
    ) from error


def _is_folder(entry: Any) -> bool:
  """Whether an entry is a folder, or a link to one."""
  try:
    return entry.is_dir()
  except OSError:  # a link to itself
    return False
