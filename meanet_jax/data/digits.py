"""scikit-learn's handwritten digits."""

import numpy as np
import sklearn.datasets

from meanet_jax.config.schema import DatasetConfig
from meanet_jax.data.image_shape import check_image_shape
from meanet_jax.data.splits import ArraySplit, Dataset
from meanet_jax.data.stratified import split_off, train_and_validation
from meanet_jax.errors import UserError


def load_digits(config: DatasetConfig) -> Dataset:
  """1,797 handwritten digits, 8x8, with 17 grey levels spread over uint8.

  Raises:
    UserError: another image shape, or no share for a test split.
  """
  bunch = sklearn.datasets.load_digits()
  images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
  labels = bunch.target.astype(np.int32)
  check_image_shape(config, images.shape[1:], "digits")
  if config.test_fraction == 0:
    raise UserError("dataset.test_fraction is 0; accepted: above 0, digits has no test split")
  names = tuple(map(str, bunch.target_names))
  kept, test = split_off(labels, config.test_fraction, config.split_seed, names)
  rest = ArraySplit(images[kept], labels[kept])
  train, validation = train_and_validation(rest, config, names)
  return Dataset(
    name="digits",
    class_names=names,
    train=train,
    validation=validation,
    test=ArraySplit(images[test], labels[test]),
  )
