"""Encoded images inside Arrow files: what Hugging Face's `datasets` saves with `save_to_disk`."""

import dataclasses
import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int

from meanet_jax.data.own.files import (
  ImageFiles,
  check_classes,
  shown,
  sorted_names,
  split_place,
)
from meanet_jax.data.own.stores import file_status
from meanet_jax.errors import UserError

_INDEX_NAME = ".meanet_jax.images.npz"
_LAYOUT = "accepted: a directory that save_to_disk of the package datasets wrote"


@dataclasses.dataclass(frozen=True)
class ArrowStore:
  """Images in a column of Arrow or Parquet files below `root`; the path of one is FILE:ROW.

  Arrow files are read as memory maps. A Parquet file is compressed, so its column is read into the
  memory of every process that decodes.
  """

  root: Path
  column: str

  def read(self, path: str) -> bytes:
    """See `ImageStore`."""
    file, _, row = path.rpartition(":")
    try:
      where = self.root / file
      value = _column(str(where), self.column, file_status(where))[int(row)].as_py()
    except (pa.ArrowException, IndexError) as error:
      raise OSError(" ".join(str(error).split())) from error
    data = value["bytes"] if isinstance(value, dict) else value
    if data is None:
      raise OSError("the row has no image, only its path or nothing")
    return data

  def status(self, paths: Sequence[str]) -> Int[np.ndarray, "n 3"]:
    """That of the file that each image is in; see `FileStore.status`."""
    files = [path.rpartition(":")[0] for path in paths]
    found = {file: file_status(self.root / file) for file in set(files)}
    return np.array([found[file] for file in files], np.int64).reshape(-1, 3)

  def name(self, path: str) -> str:
    """See `ImageStore`."""
    file, _, row = path.rpartition(":")
    return f"row {row} of {self.root / file}"


@dataclasses.dataclass(frozen=True)
class ImageColumns:
  """The columns of a table with images in it. classes: names by number, where labels are such."""

  image: str
  label: str
  classes: tuple[str, ...] | None


def read_saved(root: Path) -> ImageFiles:
  """The images of a saved dataset, or of a saved dictionary of splits.

  Args:
    root: absolute.

  Raises:
    UserError: files that are missing or damaged, other columns than an image and a label, labels
      that are no class, an unknown split, or fewer than two classes.
  """
  if not (root / "dataset_dict.json").is_file():
    return image_rows(root, _INDEX_NAME, [(name, None) for name in _saved_files(root, "")])
  names = _json(root / "dataset_dict.json").get("splits", [])
  files = [
    (file, split_place(name, f"{shown(root)} has split"))
    for name in names
    for file in _saved_files(root, name)
  ]
  return image_rows(root, _INDEX_NAME, files)


def image_rows(
  root: Path, index_name: str, files: Sequence[tuple[str, int | None]], source: Path | None = None
) -> ImageFiles:
  """The images of the rows of Arrow or Parquet files.

  Args:
    root: absolute.
    index_name: of the file below it where what reading them finds is kept.
    files: below it, with the place of their split in `SPLITS`; None where a column says it, or
      nothing.
    source: what names them to a person; `root` if not given.

  Raises:
    UserError: see `read_saved`.
  """
  source = source or root
  if not files:
    raise UserError(f"{shown(source)} lists no data files; {_LAYOUT}")
  try:
    schema = _schema(root / files[0][0])
    columns = _image_columns(schema, source)
    others = [name for name in ("split", "group") if name in schema.names]
    tables = [_table(str(root / file), (columns.label, *others)) for file, _ in files]
  except (OSError, ValueError, pa.ArrowException, KeyError) as error:
    raise UserError(
      f"{shown(source)} cannot be read: {shown(' '.join(str(error).split()))}; {_LAYOUT}, or a "
      "Parquet file"
    ) from error
  labels = [value for table in tables for value in table[columns.label].to_pylist()]
  sizes = list(map(len, tables))
  paths = tuple(
    f"{file}:{row}" for (file, _), size in zip(files, sizes, strict=True) for row in range(size)
  )
  numbers, class_names = _labels(labels, columns.classes, source)
  check_classes({class_names[c]: int((numbers == c).sum()) for c in np.unique(numbers)}, source)
  splits = groups = None
  if files[0][1] is not None:
    splits = np.repeat(np.array([place for _, place in files], np.int8), sizes)
  elif "split" in others:
    texts = [str(value) for table in tables for value in table["split"].to_pylist()]
    splits = np.array([split_place(text, f"{shown(source)} has split") for text in texts], np.int8)
  if "group" in others:
    groups = np.array([str(value) for table in tables for value in table["group"].to_pylist()])
  store = ArrowStore(root, columns.image)
  return ImageFiles(source, store, root / index_name, paths, numbers, class_names, splits, groups)


def _labels(
  labels: Sequence[Any], classes: tuple[str, ...] | None, source: Path
) -> tuple[Int[np.ndarray, " n"], tuple[str, ...]]:
  """Class numbers from 0, int32, and the names of the classes."""
  check_labels(labels, classes, source)
  if classes is not None:
    return np.array(labels, np.int32), classes
  texts = [str(label).strip() for label in labels]
  class_names = sorted_names(set(texts))
  number = {name: place for place, name in enumerate(class_names)}
  return np.array([number[text] for text in texts], np.int32), class_names


def check_labels(labels: Sequence[Any], classes: Sequence[str] | None, source: Path) -> None:
  """Refuses labels that are neither names nor whole numbers.

  Args:
    labels: of every row.
    classes: names by number, where labels are numbers of them; None where they are not.
    source: for the message.

  Raises:
    UserError: with the first such label.
  """
  for row, label in enumerate(labels):
    fits = isinstance(label, (int, str)) and not isinstance(label, bool)
    if classes is not None:
      fits = fits and isinstance(label, int) and 0 <= label < len(classes)
    if not fits:
      accepted = "names or whole numbers" if classes is None else f"0 to {len(classes) - 1}"
      raise UserError(
        f"row {row} of {shown(source)} has label {shown(str(label))}; accepted: {accepted}"
      )


def _saved_files(root: Path, split: str) -> list[str]:
  state = _json(root / split / "state.json")
  return [str(Path(split, file["filename"])) for file in state.get("_data_files", [])]


def _json(path: Path) -> dict[str, Any]:
  try:
    found = json.loads(path.read_text())
  except (OSError, ValueError, RecursionError) as error:
    raise UserError(f"{shown(path)} cannot be read: {error}; {_LAYOUT}") from error
  if not isinstance(found, dict):
    raise UserError(f"{shown(path)} is no JSON object; {_LAYOUT}")
  return found


def _image_columns(schema: pa.Schema, source: Path) -> ImageColumns:
  """By the features that `datasets` writes into the schema, or by the columns' types and names."""
  features: dict[str, Any] = {}
  if schema.metadata and b"huggingface" in schema.metadata:
    features = json.loads(schema.metadata[b"huggingface"]).get("info", {}).get("features", {})
  images = [name for name in schema.names if has_image(schema.field(name).type)]
  kinds = {name: feature.get("_type") for name, feature in features.items() if "_type" in feature}
  labels = [name for name in schema.names if kinds.get(name) == "ClassLabel"]
  chosen = []
  for name, found in (("image", images), ("label", labels or ["label"])):
    pick = name if name in found else found[0] if len(found) == 1 else None
    if pick is None or pick not in schema.names:
      raise UserError(
        f"{shown(source)} has the columns {shown(', '.join(schema.names))}; accepted: one column "
        "of images (bytes, or as datasets saves them), and one of labels, named label or of type "
        "ClassLabel"
      )
    chosen.append(pick)
  classes = features.get(chosen[1], {}).get("names")
  return ImageColumns(chosen[0], chosen[1], tuple(classes) if classes else None)


def has_image(kind: pa.DataType) -> bool:
  """Whether a column of this type can hold encoded images."""
  if pa.types.is_struct(kind):
    return any(kind.field(number).name == "bytes" for number in range(kind.num_fields))
  return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _schema(path: Path) -> pa.Schema:
  if path.suffix == ".parquet":
    return pq.read_schema(path)
  with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as stream:
    return stream.schema


def _table(path: str, columns: Sequence[str]) -> pa.Table:
  if path.endswith(".parquet"):
    return pq.read_table(path, columns=list(columns), partitioning=None)
  with pa.memory_map(path) as file, pa.ipc.open_stream(file) as stream:
    return stream.read_all().select(list(columns))


@functools.lru_cache(maxsize=128)
def _column(path: str, column: str, status: tuple[int, ...]) -> pa.ChunkedArray:  # noqa: ARG001
  """One column of a file; that of another status is read anew."""
  return _table(path, (column,))[column]
