"""A Parquet file of paths and labels, or of images and labels."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from meanet_jax.data.own.arrow import check_labels, has_image, image_rows
from meanet_jax.data.own.files import ImageFiles, shown
from meanet_jax.data.own.table import COLUMNS, Row, column_names, listed_files
from meanet_jax.errors import UserError


def read_parquet(source: Path) -> ImageFiles:
  """The images that a Parquet file lists, or that are in it.

  Args:
    source: absolute. With a column of images (bytes, or as Hugging Face's `datasets` writes them)
      these are read; otherwise its columns are those of a CSV file.

  Raises:
    UserError: a file that cannot be read, and what `listed_files` or `image_rows` refuses.
  """
  try:
    schema = pq.read_schema(source)
    if any(has_image(field.type) for field in schema):
      return image_rows(
        source.parent, f".{source.name}.meanet_jax.npz", [(source.name, None)], source
      )
    columns = column_names(schema.names, source)
    table = pq.read_table(source, columns=list(columns.values()), partitioning=None)
  except (OSError, ValueError, pa.ArrowException) as error:
    raise UserError(
      f"{shown(source)} cannot be read as Parquet: {shown(' '.join(str(error).split()))}"
    ) from error
  values = {name: table[column].to_pylist() for name, column in columns.items()}
  check_labels(values["label"], None, source)
  texts = {
    name: ["" if value is None else str(value) for value in found] for name, found in values.items()
  }
  return listed_files(
    source,
    [
      Row(f"row {row}", *(texts[name][row] if name in texts else None for name in COLUMNS))
      for row in range(len(table))
    ],
  )
