import numpy as np
import pytest

from meanet_jax.data.hard_images import hard_images
from meanet_jax.data.splits import ArraySplit
from meanet_jax.errors import UserError
from meanet_jax.routing.hard_classes import HardClasses


def split(*labels: int) -> ArraySplit:
  return ArraySplit(np.zeros((len(labels), 2, 2, 1), np.uint8), np.asarray(labels, np.int32))


def test_images_of_hard_classes_have_the_numbers_of_the_extension():
  to_hard = HardClasses(np.asarray([1, 4], np.int32), 5).label_map
  chosen, labels = hard_images(split(4, 0, 1, 1, 3, 4), to_hard, "train")
  np.testing.assert_array_equal(chosen, [0, 2, 3, 5])
  np.testing.assert_array_equal(labels, [1, 0, 0, 1])


def test_a_split_without_one_is_refused():
  to_hard = HardClasses(np.asarray([2], np.int32), 5).label_map
  with pytest.raises(UserError, match="the validation split has no image of a hard class"):
    hard_images(split(4, 0), to_hard, "validation")
