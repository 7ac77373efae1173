"""Prepared TFDS sets as splits."""

from meanet_jax.config.schema import DatasetConfig
from meanet_jax.data.decode import PixelReader
from meanet_jax.data.examples import Reading, report_reading
from meanet_jax.data.image_shape import check_image_shape
from meanet_jax.data.in_memory import fits_in_memory, read_into_memory
from meanet_jax.data.kept_pixels import KeptPixels
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.data.splits import Dataset, Split
from meanet_jax.data.stratified import train_and_validation
from meanet_jax.data.streaming import streamed
from meanet_jax.data.tfds.index import fingerprint, kept_path, split_index
from meanet_jax.data.tfds.names import data_root
from meanet_jax.data.tfds.prepared import (
  PreparedExamples,
  PreparedSet,
  check_disjoint,
  find_prepared,
)
from meanet_jax.errors import UserError
from meanet_jax.images.preprocessing import Preprocessing, of_sizes


def load_prepared(config: DatasetConfig, options: ReadOptions) -> Dataset:
  """A prepared set, its validation split drawn from its training images.

  Raises:
    UserError: see `sources.load`.
  """
  found = find_prepared(config, options.data_dir)
  if config.test_fraction:
    raise UserError(
      f"dataset.test_fraction is {config.test_fraction}; accepted: 0, {found.name} is split by "
      "dataset.train_split and dataset.test_split"
    )
  check_image_shape(config, found.shape, str(found.name))
  check_disjoint(found, config.train_split, config.test_split)
  preprocessing = of_sizes(found.shape[:2])
  rest = _read(found, config.train_split, config, preprocessing, options)
  test = _read(found, config.test_split, config, preprocessing, options)
  train, validation = train_and_validation(rest.split, config, found.class_names)
  return Dataset(
    name=str(found.name),
    class_names=found.class_names,
    train=train,
    validation=validation,
    test=test.split,
    preprocessing=preprocessing,
    skipped={"train": rest.skipped, "test": test.skipped},
    data_dir=str(data_root(options.data_dir)),
  )


def load_prepared_test(
  config: DatasetConfig, options: ReadOptions, preprocessing: Preprocessing | None
) -> tuple[tuple[str, ...], Split]:
  """The class names and the test split alone; see `sources.load_test`."""
  found = find_prepared(config, options.data_dir)
  check_image_shape(config, found.shape, str(found.name))
  preprocessing = preprocessing or of_sizes(found.shape[:2])
  return found.class_names, _read(found, config.test_split, config, preprocessing, options).split


def _read(
  found: PreparedSet,
  split: str,
  config: DatasetConfig,
  preprocessing: Preprocessing,
  options: ReadOptions,
) -> Reading:
  """A split, in memory or streamed; says what of it is left out or converted."""
  reader = PixelReader(tuple(config.image_shape), found.shape[:2], preprocessing)
  examples = PreparedExamples.of(found, split)
  if fits_in_memory(config, _num_images(config, found)):
    reading = _in_memory(examples, config, reader, options)
  else:
    index = split_index(found, split, reader)
    reading = streamed(examples, index, config, reader, options.workers)
  report_reading(reading, examples.name)
  return reading


def _in_memory(
  examples: PreparedExamples, config: DatasetConfig, reader: PixelReader, options: ReadOptions
) -> Reading:
  found, split = examples.found, examples.split

  def read() -> Reading:
    return read_into_memory(examples, len(found.class_names), config, reader)

  if options.decode_again:
    return read()
  path = kept_path(found, split, "pixels")
  return KeptPixels(path, lambda: fingerprint(found, split, reader)).read(read, config, reader)


def _num_images(config: DatasetConfig, found: PreparedSet) -> int:
  splits = found.builder.info.splits
  return sum(splits[name].num_examples for name in (config.train_split, config.test_split))
