"""Directories in the layout of `datasets.Dataset.save_to_disk` (datasets 5.2), made by pyarrow."""

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from tests.data.sets import encoded, picture

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def images(count: int, first: int = 0) -> list[dict[str, object]]:
  """Different PNGs of 20x30 pixels."""
  made = [encoded(picture(first + number, (20, 30)), "PNG") for number in range(count)]
  return [{"bytes": data, "path": None} for data in made]


def image_table(
  labels: Sequence[int], first: int = 0, names: Sequence[str] | None = None, **columns
):
  """A table of images and labels, with the features of `datasets` where there are names."""
  arrays = {"image": pa.array(images(len(labels), first), IMAGE), "label": pa.array(labels)}
  table = pa.table(arrays | {name: pa.array(values) for name, values in columns.items()})
  if names is None:
    return table
  features = {
    "image": {"_type": "Image"},
    "label": {"names": list(names), "_type": "ClassLabel"},
  }
  return table.replace_schema_metadata(
    {"huggingface": json.dumps({"info": {"features": features}})}
  )


def save(table: pa.Table, root: Path, files: int = 1) -> Path:
  """The table as so many Arrow files."""
  root.mkdir(parents=True, exist_ok=True)
  size, names = -(-len(table) // files), []
  for number in range(files):
    names.append(f"data-{number:05d}-of-{files:05d}.arrow")
    path = str(root / names[-1])
    with pa.OSFile(path, "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
      writer.write_table(table.slice(number * size, size), max_chunksize=3)
  state = {"_data_files": [{"filename": name} for name in names], "_split": None}
  (root / "state.json").write_text(json.dumps(state))
  (root / "dataset_info.json").write_text(json.dumps({"features": {}}))
  return root


def save_splits(tables: dict[str, pa.Table], root: Path) -> Path:
  """A dictionary of splits."""
  for name, table in tables.items():
    save(table, root / name)
  (root / "dataset_dict.json").write_text(json.dumps({"splits": list(tables)}))
  return root
