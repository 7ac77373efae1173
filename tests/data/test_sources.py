import dataclasses

import numpy as np
import pytest
import sklearn.datasets

from meanet_jax.config.schema import DatasetConfig
from meanet_jax.data.sources import load
from meanet_jax.data.stratified import split_off
from meanet_jax.errors import UserError

CONFIG = DatasetConfig(test_fraction=0.4, validation_fraction=0.25)


def test_digits_are_split_whole_disjoint_and_stratified():
  dataset = load(CONFIG)
  splits = (dataset.train, dataset.validation, dataset.test)
  assert sum(map(len, splits)) == 1797
  assert len(dataset.test) == 719
  assert dataset.class_names == tuple("0123456789")
  everything = np.concatenate([s.images for s in splits]).reshape(1797, -1)
  original = sklearn.datasets.load_digits().data
  as_uint8 = np.round(original * 255 / 16).astype(np.uint8)
  # The same multiset of images: nothing lost, nothing twice.
  np.testing.assert_array_equal(
    everything[np.lexsort(everything.T)], as_uint8[np.lexsort(as_uint8.T)]
  )
  for split in splits:
    shares = np.bincount(split.labels, minlength=10) / len(split)
    assert np.all(np.abs(shares - 0.1) < 0.01)


def test_the_split_seed_alone_decides():
  again = load(CONFIG)
  other = load(dataclasses.replace(CONFIG, split_seed=1))
  np.testing.assert_array_equal(load(CONFIG).test.images, again.test.images)
  assert not np.array_equal(load(CONFIG).test.images, other.test.images)


@pytest.mark.parametrize(
  ("change", "words"),
  [
    ({"name": "digit"}, "dataset.name is 'digit'; did you mean 'digits'?"),
    ({"image_shape": (28, 28, 1)}, r"image_shape is \(28, 28, 1\); accepted: \(8, 8, 1\)"),
    ({"num_classes": 11}, "num_classes is 11; accepted: 10"),
    ({"test_fraction": 0.0}, "test_fraction is 0; accepted: above 0"),
    ({"validation_fraction": 0.001}, "a share of 0.001 of 1078 images cannot be set aside"),
  ],
)
def test_refusals(change, words):
  with pytest.raises(UserError, match=words):
    load(dataclasses.replace(CONFIG, **change))


def test_a_class_of_one_image_is_named():
  labels = np.array([0, 0, 0, 1, 2, 2, 2], np.int32)
  with pytest.raises(UserError, match="has each of the classes bee; accepted: at least 2"):
    split_off(labels, 0.5, 0, ("ant", "bee", "cat"))
