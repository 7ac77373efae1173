"""Prepared TFDS image-classification sets: found, checked and described without TensorFlow."""

import dataclasses
import re
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

from meanet_jax.config.schema import DatasetConfig
from meanet_jax.data.examples import Example
from meanet_jax.data.tfds.names import (
  SetName,
  data_root,
  parse_name,
  set_path,
  stock_builder,
  with_stock_parts,
)
from meanet_jax.errors import UserError, hint


@dataclasses.dataclass(frozen=True)
class PreparedSet:
  """A set on disk.

  name: with its version. image, label: the keys of the two features. file_name: the key of a text
  feature that names an example, where there is one. shape: height, width (None where images
  differ) and channels (None where they differ).
  """

  name: SetName
  builder: Any
  image: str
  label: str
  file_name: str | None
  class_names: tuple[str, ...]
  shape: tuple[int | None, int | None, int | None]

  def records(self, split: str) -> Any:
    """The records of a split, for `PreparedExamples`.

    Raises:
      UserError: a split that the set does not have, or one without examples.
    """
    self.files(split)
    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    return self.builder.as_data_source(split=split, deserialize_method=raw)

  def files(self, split: str) -> list[tuple[str, int, int]]:
    """The record files of a split, each with its first example and the one after its last.

    Raises:
      UserError: see `records`.
    """
    try:
      found = self.builder.info.splits[split].file_instructions
    except (ValueError, KeyError, AssertionError) as error:
      raise UserError(
        f"{self.name} has no split {split!r}; accepted: {', '.join(self.builder.info.splits)}, "
        "or a slice of one like train[:90%]"
      ) from error
    if not sum(file.take for file in found):
      raise UserError(f"split {split!r} of {self.name} is empty; accepted: at least 1 image")
    return [(file.filename, file.skip, file.skip + file.take) for file in found]


def find_prepared(config: DatasetConfig, data_dir: str | None) -> PreparedSet:
  """The set that a configuration names, of the version it or the installed TFDS names.

  Raises:
    UserError: a set that is missing, of another version, in another file format than array_record,
      or without one image and one class label per example.
  """
  root = data_root(data_dir)
  name = with_stock_parts(parse_name(config.name))
  found = _versions(name, root)
  if name.version is None:  # a set that the installed TFDS knows nothing of: the newest there is
    if not found:
      known = ["digits", "folder", *tfds.list_builders(with_community_datasets=False)]
      raise UserError(
        f"dataset.name is {str(name)!r}; {hint(name.name, known)}accepted: digits, folder, a set "
        f"of tensorflow-datasets {tfds.__version__}, or one prepared in {root}"
      )
    name = name._replace(version=found[-1])
  if name.version not in found:
    others = f", only version {', '.join(found)}" if found else ""
    raise UserError(f"dataset {name} is not in {root}{others}; {_remedy(name, root)}")
  try:
    builder = tfds.builder_from_directory(set_path(name, root))
  except Exception as error:  # whatever reading damaged metadata raises
    raise UserError(
      f"the metadata of dataset {name} in {root} cannot be read: {' '.join(str(error).split())}; "
      f"{_remedy(name, root, replace=True)}"
    ) from error
  formats = {builder.info.file_format, *(builder.info.alternative_file_formats or ())}
  if tfds.core.FileFormat.ARRAY_RECORD not in formats:
    names = ", ".join(sorted(form.value for form in formats if form))
    raise UserError(
      f"dataset {name} in {root} is in file format {names}; accepted: array_record; "
      f"{_remedy(name, root, replace=True)}"
    )
  if builder.info.file_format is not tfds.core.FileFormat.ARRAY_RECORD:
    # Its splits would name the files of the other format until they are read.
    builder.info.set_file_format(
      tfds.core.FileFormat.ARRAY_RECORD, override=True, override_if_initialized=True
    )
  return _described(name, builder)


def _remedy(name: SetName, root: Path, replace: bool = False) -> str:
  """How a set comes to be in `root` as it is needed: by our command, if TFDS knows the set."""
  if stock_builder(name) is not None:
    command = f"meanet prepare {name} --data-dir {quote(str(root))}"
    return f"prepare it with: {command}{' --replace' if replace else ''}"
  first = f"move {set_path(name, root)} away, then " if replace else ""
  way = f"(data_dir={str(root)!r}, file_format='array_record').download_and_prepare()"
  return f"tensorflow-datasets does not know it: {first}prepare it with its own builder, CLASS{way}"


def _described(name: SetName, builder: Any) -> PreparedSet:
  features = builder.info.features
  kinds = {
    kind: sorted(key for key, feature in features.items() if type(feature) is kind)
    for kind in (tfds.features.Image, tfds.features.ClassLabel)
  }
  supervised = builder.info.supervised_keys
  chosen = []
  for place, (kind, keys) in enumerate(kinds.items()):
    if supervised and supervised[place] in keys:
      chosen.append(supervised[place])
    elif len(keys) == 1:
      chosen.append(keys[0])
    else:
      raise UserError(
        f"dataset {name} has {len(keys)} features of type {kind.__name__} "
        f"({', '.join(keys) or 'none'}); accepted: image classification, one image and one label"
      )
  image, label = chosen
  text = [k for k, f in features.items() if isinstance(f, tfds.features.Text)]
  named = next(
    (key for key in ("file_name", "filename", "image/filename", "id") if key in text), None
  )
  shape, dtype = features[image].shape, features[image].np_dtype
  if dtype not in (np.uint8, np.uint16):  # TFDS stores float32 as the four bytes of an RGBA pixel
    raise UserError(f"dataset {name} has images of dtype {dtype}; accepted: uint8 or uint16")
  names = features[label].names or [str(c) for c in range(features[label].num_classes)]
  return PreparedSet(name, builder, image, label, named, tuple(names), shape)


def _versions(name: SetName, root: Path) -> list[str]:
  parent = root / name.name / (name.config or "")
  found = [path.parent.name for path in parent.glob("*/dataset_info.json")]
  return sorted((v for v in found if re.fullmatch(r"\d+\.\d+\.\d+", v)), key=_version_key)


def _version_key(version: str) -> tuple[int, ...]:
  return tuple(int(part) for part in version.split("."))


@dataclasses.dataclass(frozen=True)
class PreparedExamples:
  """The examples of one split of a prepared set, or of a slice of one; see `Examples`."""

  found: PreparedSet
  split: str
  records: Any

  @classmethod
  def of(cls, found: PreparedSet, split: str) -> "PreparedExamples":
    """Those of a split.

    Raises:
      UserError: as `PreparedSet.records`.
    """
    return cls(found, split, found.records(split))

  @property
  def name(self) -> str:
    """See `Examples`."""
    return f"{self.found.name} {self.split}"

  def __len__(self) -> int:
    return len(self.records)

  def read(self, number: int) -> Example:
    """See `Examples`.

    Three fields are taken out of TFDS's protocol buffer here, because its own deserialisation of
    all features takes longer than reading the record.

    Raises:
      UserError: record files that are damaged.
    """
    found = self.found
    try:
      fields = tf_example_pb2.Example.FromString(self.records[number]).features.feature
      name = found.file_name
      return Example(
        fields[found.image].bytes_list.value[0],
        fields[found.label].int64_list.value[0],
        fields[name].bytes_list.value[0].decode() if name else "",
      )
    except Exception as error:  # array_record and protobuf raise what they happen to
      raise UserError(
        f"the records of {self.name} in {found.builder.data_dir} are damaged: "
        f"{' '.join(str(error).split())[:200]}; prepare the set again"
      ) from error

  def example_name(self, number: int, example: Example) -> str:
    """See `Examples`."""
    file_name = f" ({example.file_name})" if example.file_name else ""
    return f"image {number} of {self.name}{file_name}"


def check_disjoint(prepared: PreparedSet, first: str, second: str) -> None:
  """Refuses two splits (or slices) that share an example.

  Raises:
    UserError: they do, or one does not exist.
  """
  for name, start, end in prepared.files(first):
    for other, begin, stop in prepared.files(second):
      if name == other and max(start, begin) < min(end, stop):
        raise UserError(
          f"splits {first!r} and {second!r} of {prepared.name} share images; "
          "accepted: disjoint ones"
        )
