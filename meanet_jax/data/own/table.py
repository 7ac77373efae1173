"""Rows of path and label, and perhaps split and group, as a CSV or Parquet file lists them."""

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from meanet_jax.data.own.files import ImageFiles, check_classes, shown, sorted_names, split_place
from meanet_jax.data.own.stores import FileStore
from meanet_jax.errors import UserError

COLUMNS = ("path", "label", "split", "group")


class Row(NamedTuple):
  """where: the row is, for messages ("line 3"). split, group: None without that column."""

  where: str
  path: str
  label: str
  split: str | None
  group: str | None


def read_csv(source: Path) -> ImageFiles:
  """The image files that a CSV file lists, whose paths count from the folder that it lies in.

  Args:
    source: absolute.

  Raises:
    UserError: a file that cannot be read, and what `listed_files` refuses.
  """
  try:
    with source.open(newline="", encoding="utf-8-sig") as file:
      reader = csv.DictReader(file)
      columns = column_names(reader.fieldnames or (), source)
      rows = [(f"line {reader.line_num}", row) for row in reader]
  except (OSError, ValueError, csv.Error) as error:
    raise UserError(
      f"{shown(source)} cannot be read as CSV in UTF-8: {shown(str(error))}"
    ) from error
  return listed_files(
    source,
    [
      Row(where, *((row[columns[n]] or "") if n in columns else None for n in COLUMNS))
      for where, row in rows
    ],
  )


def column_names(found: Sequence[str], source: Path) -> dict[str, str]:
  """A table's names of the columns in `COLUMNS`.

  Raises:
    UserError: path or label is missing.
  """
  columns = {(name or "").strip().lower(): name for name in found}
  if not {"path", "label"} <= set(columns):
    commas = ", with commas between them" if source.suffix.lower() == ".csv" else ""
    raise UserError(
      f"{shown(source)} has the columns {shown(', '.join(found) or 'none')}; accepted: path and "
      f"label, and split and group where they are known{commas}"
    )
  return {name: columns[name] for name in COLUMNS if name in columns}


def listed_files(source: Path, rows: Iterable[Row]) -> ImageFiles:
  """The image files of a table's rows.

  Args:
    source: absolute; its folder is where paths count from.
    rows: of the table.

  Raises:
    UserError: values that are missing or wrong, a path that does not exist or is listed twice, or
      fewer than two classes.
  """
  rows = [_checked(row, source) for row in rows]
  by_path: dict[str, Row] = {}
  missing: list[Row] = []
  for row in rows:
    earlier = by_path.setdefault(os.path.normpath(row.path), row)
    if earlier is not row:
      labels = f" as {shown(earlier.label)} and {shown(row.label)}"
      raise UserError(
        f"{shown(source)} lists {shown(row.path)} twice ({earlier.where} and {row.where})"
        f"{labels if earlier.label != row.label else ''}; accepted: each path once"
      )
    if not os.path.isfile(source.parent / row.path):
      missing.append(row)
  if missing:
    raise UserError(
      f"{len(missing)} of {len(rows)} paths in {shown(source)} are not files (the first is "
      f"{shown(missing[0].path)}, {missing[0].where}); accepted: absolute paths, or paths from "
      f"{shown(source.parent)}"
    )
  counts: dict[str, int] = {}
  for row in rows:
    counts[row.label] = counts.get(row.label, 0) + 1
  check_classes(counts, source)
  class_names = sorted_names(set(counts))
  number = {name: place for place, name in enumerate(class_names)}
  splits = [
    split_place(row.split, f"{row.where} of {shown(source)} has split") for row in rows if row.split
  ]
  groups = [row.group for row in rows if row.group is not None]
  return ImageFiles(
    source=source,
    store=FileStore(source.parent),
    index_path=source.with_name(f".{source.name}.meanet_jax.npz"),
    paths=tuple(row.path for row in rows),
    labels=np.array([number[row.label] for row in rows], np.int32),
    class_names=class_names,
    splits=np.array(splits, np.int8) if splits else None,
    groups=np.array(groups) if groups else None,
  )


def _checked(row: Row, source: Path) -> Row:
  """The row without spaces around its values.

  Raises:
    UserError: one is missing.
  """
  values = row._replace(
    **{name: value.strip() for name, value in row._asdict().items() if value is not None}
  )
  for name in COLUMNS:
    if getattr(values, name) == "":
      every = row.where.split()[0]
      raise UserError(
        f"{row.where} of {shown(source)} has no {name}; accepted: one in every {every}"
      )
  if "\0" in values.path:
    raise UserError(f"{row.where} of {shown(source)} has path {values.path!a}; accepted: a path")
  return values
