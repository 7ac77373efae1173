"""The index of a streamed split: every label, and which images cannot be decoded.

A set too large for memory is read once from end to end, and what was found is kept beside it. The
index holds for the record files that it was read from: their names, sizes and times of last change
are kept in it, and one that was made of other files is made anew. A copy of a set is other files.
"""

import json
import os
import secrets
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
from jaxtyping import Int

from meanet_jax.data.decode import PixelReader
from meanet_jax.data.tfds.iterate import iterate_examples
from meanet_jax.data.tfds.prepared import Example, PreparedSet, checked_labels
from meanet_jax.errors import UserError
from meanet_jax.images.decoding import UndecodableImageError
from meanet_jax.log import logger

# Of the rules by which images count as undecodable or deep.
_RULES = 2


class Index(NamedTuple):
  """labels: int32 [n]. undecodable: numbers of images that are damaged, increasing. deep: how many
  have more than 8 bits per channel.
  """

  labels: Int[np.ndarray, " n"]
  undecodable: Int[np.ndarray, " m"]
  deep: int


def split_index(found: PreparedSet, split: str, reader: PixelReader) -> Index:
  """The index of a split, from the file beside the set or from the set itself.

  Raises:
    UserError: damaged record files, files that change while they are read, or a label that is no
      class number.
  """
  path = Path(found.builder.data_dir, f".meanet_jax.{_file_name(split)}.index.npz")
  belongs_to = _fingerprint(found, split, reader)
  index = _load(path, belongs_to)
  if index is None:
    index = _build(found, split, reader)
    if _fingerprint(found, split, reader) != belongs_to:
      raise UserError(
        f"the record files of {found.name} {split} in {found.builder.data_dir} changed while they "
        "were read; start again once they are complete"
      )
    _save(path, index, belongs_to)
  return index


def _fingerprint(found: PreparedSet, split: str, reader: PixelReader) -> str:
  """What an index depends on.

  The time of last change (ctime) moves whenever a file is written or put in another's place, even
  where the time of modification is set back to the old one.
  """
  files = []
  for name, start, stop in found.files(split):
    path = Path(found.builder.data_dir, name)
    try:
      status = path.stat()
    except OSError as error:
      raise UserError(
        f"record file {path} of {found.name} {split} cannot be read: {error.strerror}; "
        "prepare the set again"
      ) from error
    times = [status.st_mtime_ns, status.st_ctime_ns]
    files.append([path.name, start, stop, status.st_size, *times])
  of_reader = [reader.shape[2], *reader.sizes]
  return json.dumps({"rules": _RULES, "image": found.image, "sizes": of_reader, "files": files})


def _build(found: PreparedSet, split: str, reader: PixelReader) -> Index:
  labels = np.empty(len(found.records(split)), np.int64)
  deep = np.zeros(len(labels), bool)
  bad: list[int] = []

  def read(number: int, example: Example) -> None:
    labels[number] = example.label
    try:
      deep[number] = reader.whole(example.image).deep
    except UndecodableImageError:
      bad.append(number)

  iterate_examples(found, split, read, "indexing once:")
  undecodable = np.array(sorted(bad), np.int64)
  return Index(checked_labels(labels, found, split), undecodable, int(deep.sum()))


def _load(path: Path, belongs_to: str) -> Index | None:
  try:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
      index = Index(arrays["labels"], arrays["undecodable"], int(arrays["deep"]))
      kept, pillow = str(arrays["belongs_to"]), str(arrays["pillow"])
  except (OSError, ValueError, KeyError, zipfile.BadZipFile):
    return None  # none yet, damaged, or of an earlier version: it is made anew
  # What one Pillow cannot decode, another may.
  usable = not len(index.undecodable) or pillow == PIL.__version__
  return index if kept == belongs_to and usable else None


def _save(path: Path, index: Index, belongs_to: str) -> None:
  # Hosts that share the directory may save at once, under one and the same process number.
  partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}.partial.npz")
  written = index._asdict() | {"belongs_to": belongs_to, "pillow": PIL.__version__}
  try:
    np.savez(partial, allow_pickle=False, **written)
    os.replace(partial, path)
  except OSError as error:
    partial.unlink(missing_ok=True)
    logger.info(f"the index cannot be kept in {path.parent} ({error.strerror}); it is made anew")


def _file_name(split: str) -> str:
  return "".join(c if c.isalnum() else f"-{ord(c):x}-" for c in split)
