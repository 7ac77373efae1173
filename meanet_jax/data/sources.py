"""Sources: from a data set's name to its three splits."""

from meanet_jax.config.schema import DatasetConfig
from meanet_jax.data.digits import load_digits
from meanet_jax.data.own.find import NAME
from meanet_jax.data.own.load import load_own, load_own_test
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.data.splits import Dataset, Split
from meanet_jax.data.tfds.load import load_prepared, load_prepared_test
from meanet_jax.errors import UserError
from meanet_jax.images.preprocessing import Preprocessing


def load(config: DatasetConfig, options: ReadOptions | None = None) -> Dataset:
  """The data set of a configuration, split by its `split_seed`.

  Args:
    config: which set. `digits` comes with scikit-learn, `folder` is own images; any other name is
      TFDS's.
    options: where prepared sets lie.

  Raises:
    UserError: a set that is unknown, not there or damaged, splits that are empty or overlap, and
      images or classes other than the configuration declares.
  """
  options = options or ReadOptions()
  if config.name == "digits":
    dataset = load_digits(config)
  elif config.name == NAME:
    dataset = load_own(config, options)
  else:
    dataset = load_prepared(config, options)
  if len(dataset.class_names) != config.num_classes:
    raise UserError(
      f"dataset.num_classes is {config.num_classes}; "
      f"accepted: {len(dataset.class_names)}, as {dataset.name} has"
    )
  return dataset


def load_test(
  config: DatasetConfig,
  options: ReadOptions | None = None,
  preprocessing: Preprocessing | None = None,
) -> tuple[tuple[str, ...], Split]:
  """The class names and the test split alone, for which nothing else is read.

  Args:
    config, options: see `load`.
    preprocessing: of a prepared set's images; the set's own, as `load` uses it, if not given.

  Raises:
    UserError: see `load`.
  """
  options = options or ReadOptions()
  if config.name == "digits":
    dataset = load_digits(config)
    return dataset.class_names, dataset.test
  if config.name == NAME:
    return load_own_test(config, options, preprocessing)
  return load_prepared_test(config, options, preprocessing)
