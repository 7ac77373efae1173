"""A user's own images as a data set."""

import dataclasses
from pathlib import Path

import numpy as np
from jaxtyping import Int

from meanet_jax.config.schema import DatasetConfig
from meanet_jax.data.decode import PixelReader
from meanet_jax.data.examples import Index, check_decodable, report_reading
from meanet_jax.data.image_shape import check_image_shape
from meanet_jax.data.in_memory import fits_in_memory, read_into_memory
from meanet_jax.data.own.arrays import read_arrays
from meanet_jax.data.own.assign import assign_splits
from meanet_jax.data.own.duplicates import report_duplicates
from meanet_jax.data.own.files import SPLITS, FileExamples, ImageFiles, shown
from meanet_jax.data.own.folder import read_folder
from meanet_jax.data.own.index import FileIndex, digest, index_files
from meanet_jax.data.own.table import read_table
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.data.splits import ArraySplit, Dataset, Split
from meanet_jax.data.streaming import streamed
from meanet_jax.errors import UserError
from meanet_jax.images.preprocessing import Preprocessing, of_sizes
from meanet_jax.log import listed, logger
from meanet_jax.paths import expanded_path

NAME = "folder"  # `dataset.name` of own images, in whichever form they come


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


def own_path(config: DatasetConfig, options: ReadOptions) -> Path:
  """Where the images are: `--data-dir`, or `dataset.path`; absolute.

  Raises:
    UserError: neither is given, or there is nothing.
  """
  text = options.data_dir or expanded_path(config.path, "dataset.path")
  if not text:
    raise UserError(
      "dataset.path is empty; accepted: a folder of class folders, a CSV file, or an .npz file"
    )
  path = Path(text).absolute()
  if not path.exists():
    raise UserError(
      f"dataset.path {shown(path)} does not exist; accepted: a folder of class folders, a CSV "
      "file or an .npz file (--data-dir says where it lies now)"
    )
  return path


def is_arrays(path: Path) -> bool:
  """Whether own images are NumPy arrays, and not files."""
  return path.suffix.lower() == ".npz" and path.is_file()


def find_files(path: Path, config: DatasetConfig) -> OwnFiles:
  """The image files of a folder or CSV file, each looked at once.

  Raises:
    UserError: whatever is wrong with the folder or CSV file, or files that are no images.
  """
  if path.is_dir():
    files = read_folder(path)
  elif path.suffix.lower() == ".csv":
    files = read_table(path)
  else:
    raise UserError(
      f"dataset.path is {shown(path)}; accepted: a folder of class folders, a CSV file, or an "
      ".npz file"
    )
  index = index_files(files)
  bad = [number for number, error in enumerate(index.errors) if error]
  kept = np.setdiff1d(np.arange(len(files.paths)), bad)
  found = OwnFiles(files.select(kept), index.select(kept), len(bad))
  if not bad:
    return found
  first = f"{shown(files.root / files.paths[bad[0]])} {index.errors[bad[0]]}"
  check_decodable(len(bad), len(files.paths), config, lambda: first)
  names = listed([shown(files.paths[number]) for number in bad], 5)
  note = f"{len(bad)} of {len(files.paths)} files are no images and are left out: {names}"
  left = dataclasses.replace(found.files, notes=(*files.notes, f"{shown(path)}: {note}"))
  return dataclasses.replace(found, files=left)


def load_own(config: DatasetConfig, options: ReadOptions) -> Dataset:
  """Own images, split as they are given or by `split_seed`.

  Raises:
    UserError: see `sources.load`.
  """
  path = own_path(config, options)
  if is_arrays(path):
    return _load_arrays(path, config)
  found = find_files(path, config)
  for note in found.files.notes:
    logger.info(note)
  files, splits = found.files, _assigned(found.files, config)
  report_duplicates(
    found.index.digests,
    files.labels,
    splits,
    files.class_names,
    lambda number: shown(files.paths[number]),
  )
  reader = _reader(found, config, None)
  train, validation, test = (
    _read(found, np.flatnonzero(splits == place), name, config, reader, options)
    for place, name in enumerate(SPLITS)
  )
  return Dataset(
    name=NAME,
    class_names=files.class_names,
    train=train,
    validation=validation,
    test=test,
    preprocessing=reader.preprocessing,
    skipped={"all": found.skipped},
    data_dir=str(path),
  )


def load_own_test(
  config: DatasetConfig, options: ReadOptions, preprocessing: Preprocessing | None
) -> tuple[tuple[str, ...], Split]:
  """The class names and the test split alone; see `sources.load_test`."""
  path = own_path(config, options)
  if is_arrays(path):
    dataset = _load_arrays(path, config)
    return dataset.class_names, dataset.test
  found = find_files(path, config)
  chosen = np.flatnonzero(_assigned(found.files, config) == SPLITS.index("test"))
  reader = _reader(found, config, preprocessing)
  return found.files.class_names, _read(found, chosen, "test", config, reader, options)


def _load_arrays(path: Path, config: DatasetConfig) -> Dataset:
  arrays = read_arrays(path)
  images, labels, names, given = arrays
  check_image_shape(config, images.shape[1:], shown(path))
  splits = assign_splits(given, labels, names, config, path)
  digests = np.stack([digest(np.ascontiguousarray(image).data) for image in images])
  report_duplicates(digests, labels, splits, names, "image {}".format)
  train, validation, test = (
    ArraySplit(images[splits == place], labels[splits == place]) for place in range(len(SPLITS))
  )
  return Dataset(NAME, names, train, validation, test, data_dir=str(path))


def _assigned(files: ImageFiles, config: DatasetConfig) -> Int[np.ndarray, " n"]:
  return assign_splits(files.splits, files.labels, files.class_names, config, files.source)


def _reader(
  found: OwnFiles, config: DatasetConfig, preprocessing: Preprocessing | None
) -> PixelReader:
  """How pixels are made; evaluated as the files' sizes say where no preprocessing is given."""
  check_image_shape(config, (None, None, None), shown(found.files.source))
  return PixelReader(tuple(config.image_shape), found.sizes, preprocessing or of_sizes(found.sizes))


def _read(
  found: OwnFiles,
  chosen: Int[np.ndarray, " m"],
  split: str,
  config: DatasetConfig,
  reader: PixelReader,
  options: ReadOptions,
) -> Split:
  """The files of one split, in memory or streamed; says what of it is converted."""
  files = found.files.select(chosen)
  examples = FileExamples.of(files, f"{NAME} {split}")
  if fits_in_memory(config, len(found.files.paths)):
    reading = read_into_memory(examples, len(files.class_names), config, reader)
  else:
    deep = int(found.index.deep[chosen].sum())
    index = Index(files.labels, np.zeros(0, np.int64), deep)
    reading = streamed(examples, index, config, reader, options.workers)
  report_reading(reading, examples.name)
  return reading.split
