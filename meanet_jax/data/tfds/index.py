"""The index of a streamed split: every label, and which images cannot be decoded.

A set too large for memory is read once from end to end, and what was found is kept beside it. The
index holds for the record files that it was read from: their names, sizes and times of last change
are kept in it, and one that was made of other files is made anew. A copy of a set is other files.
"""

import json
from pathlib import Path

import numpy as np
import PIL

from meanet_jax.data.decode import PixelReader
from meanet_jax.data.examples import Example, Index, checked_labels, iterate_examples
from meanet_jax.data.kept_arrays import load_arrays, save_arrays
from meanet_jax.data.tfds.prepared import PreparedExamples, PreparedSet
from meanet_jax.errors import UserError
from meanet_jax.images.decoding import UndecodableImageError

# Of the rules by which images count as undecodable or deep.
_RULES = 3


def split_index(found: PreparedSet, split: str, reader: PixelReader) -> Index:
  """The index of a split, from the file beside the set or from the set itself.

  Raises:
    UserError: damaged record files, files that change while they are read, or a label that is no
      class number.
  """
  path = kept_path(found, split, "index")
  belongs_to = fingerprint(found, split, reader)
  index = _load(path, belongs_to)
  if index is None:
    index = _build(found, split, reader)
    if fingerprint(found, split, reader) != belongs_to:
      raise UserError(
        f"the record files of {found.name} {split} in {found.builder.data_dir} changed while they "
        "were read; start again once they are complete"
      )
    of_files = {"belongs_to": belongs_to, "pillow": PIL.__version__}
    save_arrays(path, index._asdict() | of_files)
  return index


def fingerprint(found: PreparedSet, split: str, reader: PixelReader) -> str:
  """The record files and what is read of them: what an index depends on.

  The time of last change (ctime) moves whenever a file is written or put in another's place, even
  where the time of modification is set back to the old one.

  Raises:
    UserError: a record file that cannot be read.
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
  examples = PreparedExamples.of(found, split)
  labels = np.empty(len(examples), np.int64)
  deep = np.zeros(len(labels), bool)
  bad: list[int] = []

  def read(number: int, example: Example) -> None:
    labels[number] = example.label
    try:
      deep[number] = reader.upright(example.image).deep
    except UndecodableImageError:
      bad.append(number)

  iterate_examples(examples, read, "indexing once:")
  checked = checked_labels(labels, len(found.class_names), examples)
  return Index(checked, np.array(sorted(bad), np.int64), int(deep.sum()))


def _load(path: Path, belongs_to: str) -> Index | None:
  kept = load_arrays(path)
  if kept is None or not {*Index._fields, "belongs_to", "pillow"} <= set(kept):
    return None  # none yet, damaged, or of an earlier version: it is made anew
  index = Index(kept["labels"], kept["undecodable"], int(kept["deep"]))
  # What one Pillow cannot decode, another may.
  usable = not len(index.undecodable) or str(kept["pillow"]) == PIL.__version__
  return index if str(kept["belongs_to"]) == belongs_to and usable else None


def kept_path(found: PreparedSet, split: str, what: str) -> Path:
  """Where what is kept of a split lies: beside its record files."""
  name = "".join(c if c.isalnum() else f"-{ord(c):x}-" for c in split)
  return Path(found.builder.data_dir, f".meanet_jax.{name}.{what}.npz")
