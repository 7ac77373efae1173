"""Which form own images come in, and the files that are images among them."""

import dataclasses
import os
from pathlib import Path

import numpy as np
from jaxtyping import Int

from meanet_jax.config.schema import DatasetConfig
from meanet_jax.data.examples import check_decodable
from meanet_jax.data.own.files import ImageFiles, shown
from meanet_jax.data.own.folder import read_folder
from meanet_jax.data.own.index import FileIndex, index_files
from meanet_jax.data.own.table import read_csv
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.errors import UserError
from meanet_jax.log import listed
from meanet_jax.paths import expanded_path

NAME = "folder"  # `dataset.name` of own images, in whichever form they come
_ACCEPTED = (
  "accepted: a folder of class folders, a CSV or Parquet file, an .npz file, a folder with "
  "images.npy and labels.npy, or a directory of Hugging Face's save_to_disk"
)


@dataclasses.dataclass(frozen=True)
class OwnFiles:
  """The files that are images, and what reading them found. skipped: files that are none."""

  files: ImageFiles
  index: FileIndex
  skipped: int

  @property
  def sizes(self) -> tuple[int | None, int | None]:
    """Height and width, each None where the images differ in it."""
    height, width = (
      int(side[0]) if (side == side[0]).all() else None for side in self.index.sizes.T
    )
    return height, width

  def select(self, chosen: Int[np.ndarray, " m"]) -> "OwnFiles":
    """Those of these indices."""
    files, index = self.files.select(chosen), self.index.select(chosen)
    return dataclasses.replace(self, files=files, index=index)


def own_path(config: DatasetConfig, options: ReadOptions) -> Path:
  """Where the images are: `--data-dir`, or `dataset.path`; absolute.

  Raises:
    UserError: neither is given, or there is nothing.
  """
  text = options.data_dir or expanded_path(config.path, "dataset.path")
  if not text:
    raise UserError(f"dataset.path is empty; {_ACCEPTED}")
  path = Path(text).absolute()
  if not os.path.exists(path):  # false as well where a folder above it may not be entered
    raise UserError(
      f"dataset.path {shown(path)} does not exist; {_ACCEPTED} (--data-dir says where it lies now)"
    )
  return path


def is_arrays(path: Path) -> bool:
  """Whether own images are NumPy arrays, and not files."""
  if os.path.isdir(path):
    return all(os.path.isfile(path / f"{name}.npy") for name in ("images", "labels"))
  return path.suffix.lower() == ".npz" and os.path.isfile(path)


def find_files(path: Path, config: DatasetConfig) -> OwnFiles:
  """The image files of any form but arrays, each looked at once.

  Raises:
    UserError: whatever is wrong with the form, or files that are no images.
  """
  files = _read_form(path)
  index = index_files(files)
  found = OwnFiles(files, index, 0)
  if not any(index.errors):
    return found
  bad = [number for number, error in enumerate(index.errors) if error]
  first = f"{shown(files.store.name(files.paths[bad[0]]))} {index.errors[bad[0]]}"
  check_decodable(len(bad), len(files.paths), config, lambda: first)
  names = listed([shown(files.paths[number]) for number in bad], 5)
  note = f"{len(bad)} of {len(files.paths)} files are no images and are left out: {names}"
  kept = found.select(np.setdiff1d(np.arange(len(files.paths)), bad))
  left = dataclasses.replace(kept.files, notes=(*files.notes, f"{shown(path)}: {note}"))
  return dataclasses.replace(kept, files=left, skipped=len(bad))


def _read_form(path: Path) -> ImageFiles:
  if path.is_dir():
    return _read_saved(path) if _is_saved(path) else read_folder(path)
  readers = {".csv": read_csv, ".parquet": _read_parquet}
  if path.suffix.lower() not in readers:
    raise UserError(f"dataset.path is {shown(path)}; {_ACCEPTED}")
  return readers[path.suffix.lower()](path)


def _is_saved(root: Path) -> bool:
  """Whether a directory is one of `save_to_disk`."""
  return any(os.path.isfile(root / name) for name in ("dataset_dict.json", "state.json"))


# pyarrow is as large as all other dependencies but JAX together, so what needs none of it goes
# without (benchmarks/accelerator/wheels.py).
def _read_saved(root: Path) -> ImageFiles:
  from meanet_jax.data.own.arrow import read_saved

  return read_saved(root)


def _read_parquet(source: Path) -> ImageFiles:
  from meanet_jax.data.own.parquet import read_parquet

  return read_parquet(source)
