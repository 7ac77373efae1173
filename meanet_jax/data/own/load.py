"""A user's own images as a data set."""

import csv
import dataclasses
import hashlib
import io
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from meanet_jax.config.schema import DatasetConfig
from meanet_jax.data.decode import PixelReader
from meanet_jax.data.examples import Index, Reading, report_reading
from meanet_jax.data.image_shape import check_image_shape
from meanet_jax.data.in_memory import fits_in_memory, read_into_memory
from meanet_jax.data.kept_pixels import KeptPixels
from meanet_jax.data.own.arrays import read_arrays
from meanet_jax.data.own.assign import assign_splits
from meanet_jax.data.own.duplicates import report_duplicates
from meanet_jax.data.own.files import SPLITS, FileExamples, ImageFiles, shown
from meanet_jax.data.own.find import NAME, OwnFiles, find_files, is_arrays, own_path
from meanet_jax.data.own.index import digest
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.data.splits import ArraySplit, Dataset, Split
from meanet_jax.data.streaming import streamed
from meanet_jax.images.preprocessing import Preprocessing, of_sizes
from meanet_jax.log import logger


@dataclasses.dataclass(frozen=True)
class _Reading:
  """How the images of a set are read. reader: makes their pixels."""

  found: OwnFiles
  config: DatasetConfig
  options: ReadOptions
  reader: PixelReader

  @classmethod
  def of(
    cls,
    found: OwnFiles,
    config: DatasetConfig,
    options: ReadOptions,
    preprocessing: Preprocessing | None = None,
  ) -> "_Reading":
    """Evaluated as the files' sizes say where no preprocessing is given."""
    check_image_shape(config, (None, None, None), shown(found.files.source))
    preprocessing = preprocessing or of_sizes(found.sizes)
    reader = PixelReader(tuple(config.image_shape), found.sizes, preprocessing)
    return cls(found, config, options, reader)

  @property
  def in_memory(self) -> bool:
    """Whether the images are decoded once."""
    return fits_in_memory(self.config, len(self.found.files.paths))

  def all_pixels(self) -> UInt8[np.ndarray, "n h w c"] | None:
    """Those of all files, decoded or kept; None where images are streamed."""
    if not self.in_memory:
      return None
    files = self.found.files

    def read() -> Reading:
      examples = FileExamples.of(files, NAME)
      return read_into_memory(examples, len(files.class_names), self.config, self.reader)

    if self.options.decode_again:
      reading = read()
    else:
      reading = self._kept().read(read, self.config, self.reader)
    # A file that broke since it was indexed may be left out, and then rows are no files' numbers.
    return reading.split.resident_images if len(reading.split) == len(files.paths) else None

  def kept_pixels(self) -> UInt8[np.ndarray, "n h w c"] | None:
    """Those of all files, where they are kept."""
    if not self.in_memory or self.options.decode_again:
      return None
    reading = self._kept().load(self.config, self.reader)
    return None if reading is None else reading.split.resident_images

  def split(
    self, chosen: Int[np.ndarray, " m"], name: str, pixels: UInt8[np.ndarray, "n h w c"] | None
  ) -> Split:
    """The files of one split, in memory or streamed; says what of it is converted."""
    files = self.found.files.select(chosen)
    examples = FileExamples.of(files, f"{NAME} {name}")
    deep = int(self.found.index.deep[chosen].sum())
    if pixels is not None:
      reading = Reading(ArraySplit(pixels[chosen], files.labels), 0, deep)
    elif self.in_memory:
      reading = read_into_memory(examples, len(files.class_names), self.config, self.reader)
    else:
      index = Index(files.labels, np.zeros(0, np.int64), deep)
      reading = streamed(examples, index, self.config, self.reader, self.options.workers)
    report_reading(reading, examples.name)
    return reading.split

  def _kept(self) -> KeptPixels:
    files = self.found.files

    def of_files() -> str:
      paths = "\0".join(files.paths).encode("utf-8", "surrogateescape")
      return hashlib.sha256(paths + files.store.status(files.paths).tobytes()).hexdigest()

    return KeptPixels(files.index_path.with_suffix(".pixels.npz"), of_files)


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
  reading = _Reading.of(found, config, options)
  pixels = reading.all_pixels()
  train, validation, test = (
    reading.split(np.flatnonzero(splits == place), name, pixels)
    for place, name in enumerate(SPLITS)
  )
  return Dataset(
    name=NAME,
    class_names=files.class_names,
    train=train,
    validation=validation,
    test=test,
    preprocessing=reading.reader.preprocessing,
    skipped={"all": found.skipped},
    data_dir=str(path),
    listing=_listing(files, splits),
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
  reading = _Reading.of(found, config, options, preprocessing)
  return found.files.class_names, reading.split(chosen, "test", reading.kept_pixels())


def _listing(files: ImageFiles, splits: Int[np.ndarray, " n"]) -> str:
  text = io.StringIO()
  writer = csv.writer(text, lineterminator="\n")
  writer.writerow(("path", "label", "split"))
  for path, label, split in zip(files.paths, files.labels, splits, strict=True):
    writer.writerow((path, files.class_names[label], SPLITS[split]))
  # Paths need not be UTF-8, and a listing must.
  return text.getvalue().encode("utf-8", "backslashreplace").decode()


def _load_arrays(path: Path, config: DatasetConfig) -> Dataset:
  arrays = read_arrays(path)
  images, labels, names = arrays.images, arrays.labels, arrays.class_names
  check_image_shape(config, images.shape[1:], shown(path))
  splits = assign_splits(arrays.splits, labels, names, config, path, arrays.groups)
  digests = np.stack([digest(np.ascontiguousarray(image).data) for image in images])
  report_duplicates(digests, labels, splits, names, "image {}".format)
  train, validation, test = (
    ArraySplit(images[splits == place], labels[splits == place]) for place in range(len(SPLITS))
  )
  return Dataset(NAME, names, train, validation, test, data_dir=str(path))


def _assigned(files: ImageFiles, config: DatasetConfig) -> Int[np.ndarray, " n"]:
  names, source = files.class_names, files.source
  return assign_splits(files.splits, files.labels, names, config, source, files.groups)
