"""The index of a streamed split: every label, and which images cannot be decoded.

A set too large for memory is read once from end to end, and what was found is kept beside it.
"""

import os
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from meanet_jax.console import Reporter
from meanet_jax.data.decode import PixelReader
from meanet_jax.data.prepared import Example, PreparedSet, checked_labels
from meanet_jax.data.visit import visit
from meanet_jax.images.decoding import UndecodableImageError


class Index(NamedTuple):
  """labels: int32 [n]. undecodable: numbers of images that are damaged, increasing. deep: how many
  have more than 8 bits per channel.
  """

  labels: Int[np.ndarray, " n"]
  undecodable: Int[np.ndarray, " m"]
  deep: int


def split_index(found: PreparedSet, split: str, reader: PixelReader, reporter: Reporter) -> Index:
  """The index of a split, from the file beside the set or from the set itself.

  Raises:
    UserError: damaged record files, or a label that is no class number.
  """
  path = Path(found.builder.data_dir, f".meanet_jax.{_file_name(split)}.index.npz")
  count = sum(stop - start for _, start, stop in found.files(split))
  index = _load(path, count)
  if index is None:
    index = _build(found, split, reader, reporter)
    _save(path, index, reporter)
  return index


def _build(found: PreparedSet, split: str, reader: PixelReader, reporter: Reporter) -> Index:
  labels = np.empty(len(found.records(split)), np.int64)
  deep = np.zeros(len(labels), bool)
  bad: list[int] = []

  def read(number: int, example: Example) -> None:
    labels[number] = example.label
    try:
      deep[number] = reader.whole(example.image).deep
    except UndecodableImageError:
      bad.append(number)

  visit(found, split, read, "indexing once:", reporter)
  undecodable = np.array(sorted(bad), np.int64)
  return Index(checked_labels(labels, found, split), undecodable, int(deep.sum()))


def _load(path: Path, count: int) -> Index | None:
  try:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
      index = Index(arrays["labels"], arrays["undecodable"], int(arrays["deep"]))
  except (OSError, ValueError, KeyError, zipfile.BadZipFile):
    return None  # none yet, or damaged: it is made anew
  return index if len(index.labels) == count else None


def _save(path: Path, index: Index, reporter: Reporter) -> None:
  partial = path.with_name(f"{path.name}.{os.getpid()}.partial.npz")
  try:
    np.savez(partial, allow_pickle=False, **index._asdict())
    partial.replace(path)
  except OSError as error:
    partial.unlink(missing_ok=True)
    reporter.say(f"the index cannot be kept in {path.parent} ({error.strerror}); it is made anew")


def _file_name(split: str) -> str:
  return "".join(c if c.isalnum() else f"-{ord(c):x}-" for c in split)
