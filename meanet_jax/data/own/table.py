"""A CSV file with the columns path and label, and perhaps split."""

import csv
import os
from pathlib import Path

import numpy as np

from meanet_jax.data.own.files import SPLITS, ImageFiles, check_classes, shown, sorted_names
from meanet_jax.data.own.folder import SPLIT_FOLDERS
from meanet_jax.errors import UserError


def read_table(source: Path) -> ImageFiles:
  """The image files that a CSV file lists, whose paths count from the folder that it lies in.

  Args:
    source: absolute.

  Raises:
    UserError: a file that cannot be read, columns or values that are missing or wrong, a path that
      does not exist or is listed twice, or fewer than two classes.
  """
  rows = _rows(source)
  lines: dict[str, int] = {}
  missing: list[str] = []
  for line, path, _, _ in rows:
    if path in lines:
      raise UserError(
        f"{shown(source)} lists {shown(path)} twice (lines {lines[path]} and {line}); "
        "accepted: each path once"
      )
    lines[path] = line
    if not os.path.isfile(source.parent / path):
      missing.append(path)
  if missing:
    raise UserError(
      f"{len(missing)} of {len(rows)} paths in {shown(source)} are not files (the first is "
      f"{shown(missing[0])}, line {lines[missing[0]]}); accepted: absolute paths, or paths from "
      f"{shown(source.parent)}"
    )
  names: dict[str, int] = {}
  for _, _, label, _ in rows:
    names[label] = names.get(label, 0) + 1
  check_classes(names, source)
  class_names = sorted_names(set(names))
  number = {name: place for place, name in enumerate(class_names)}
  splits = [split for _, _, _, split in rows]
  return ImageFiles(
    source=source,
    root=source.parent,
    index_path=source.with_name(f".{source.name}.meanet_jax.npz"),
    paths=tuple(lines),
    labels=np.array([number[label] for _, _, label, _ in rows], np.int32),
    class_names=class_names,
    splits=None if splits[0] is None else np.array(splits, np.int8),
  )


def _rows(source: Path) -> list[tuple[int, str, str, int | None]]:
  """Line, path, label and place of the split in `SPLITS` (None without that column)."""
  try:
    with source.open(newline="", encoding="utf-8-sig") as file:
      reader = csv.DictReader(file)
      columns = {(name or "").strip().lower(): name for name in reader.fieldnames or ()}
      if not {"path", "label"} <= set(columns):
        raise UserError(
          f"{shown(source)} has the columns {shown(', '.join(reader.fieldnames or ()) or 'none')}; "
          "accepted: path and label, and split where it is known, with commas between them"
        )
      found = [(reader.line_num, row) for row in reader]
  except (OSError, ValueError, csv.Error) as error:
    raise UserError(
      f"{shown(source)} cannot be read as CSV in UTF-8: {shown(str(error))}"
    ) from error
  rows = []
  for line, row in found:
    values = {name: (row[column] or "").strip() for name, column in columns.items() if name}
    for name in ("path", "label"):
      if not values[name]:
        raise UserError(
          f"line {line} of {shown(source)} has no {name}; accepted: one in every line"
        )
    split = None
    if "split" in values:
      if values["split"].lower() not in SPLIT_FOLDERS:
        raise UserError(
          f"line {line} of {shown(source)} has split {values['split']!r}; "
          f"accepted: {', '.join(SPLITS)}"
        )
      split = SPLITS.index(SPLIT_FOLDERS[values["split"].lower()])
    rows.append((line, values["path"], values["label"], split))
  return rows
