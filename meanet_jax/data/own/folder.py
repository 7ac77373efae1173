"""A folder with one sub-folder per class, optionally under train/, validation/ and test/."""

import bisect
import contextlib
import itertools
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
      for path, chosen, left in _files_below(entry.path, above + entry.name, endings, above_all):
        images += chosen
        others += [path + name for name in left]
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
    paths=tuple(itertools.chain.from_iterable(sorted(paths) for _, paths in parts)),
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
  folder: str, name: str, endings: tuple[str, ...], above: frozenset[tuple[int, int]]
) -> Iterator[tuple[str, list[str], list[str]]]:
  """The files of a folder and of all below it: the name of each folder, with a / behind it, the
  paths of its images in order, and the names of other files. A link to a folder above it is not
  followed.

  This is what an index of many files takes its time for, beside `stat`: per file it does no more
  than it must. So only a name that no image has is looked at for being a folder.
  """
  with _readable(folder):
    status = os.stat(folder)
  here = (status.st_dev, status.st_ino)
  if here in above:
    return
  prefix = f"{name}/"
  names = _visible_names(folder)
  chosen = [prefix + file for file in names if file.endswith(endings)]
  others, folders = [], []
  if len(chosen) < len(names):  # some in capitals, or no images
    rest = {file for file in names if not file.lower().endswith(endings)}
    chosen = [prefix + file for file in names if file not in rest]
    entries = _visible(folder) if rest else []
    folders = sorted(entry.name for entry in entries if entry.name in rest and _is_folder(entry))
    others = sorted(rest.difference(folders))
  yield prefix, chosen, others
  for inner in folders:
    yield from _files_below(os.path.join(folder, inner), prefix + inner, endings, above | {here})


def _visible_names(folder: str) -> list[str]:
  """The names in a folder in order, without hidden ones."""
  with _readable(folder):
    names = os.listdir(folder)
  names.sort()
  hidden = slice(bisect.bisect_left(names, "."), bisect.bisect_left(names, "/"))
  del names[hidden]
  return names


def _visible(folder: str | Path) -> list[os.DirEntry[str]]:
  """What a folder holds, in no order; hidden names are left out."""
  with _readable(folder), os.scandir(folder) as entries:
    return [entry for entry in entries if entry.name[0] != "."]


@contextlib.contextmanager
def _readable(folder: str | Path) -> Iterator[None]:
  """Says which folder cannot be read."""
  try:
    yield
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
