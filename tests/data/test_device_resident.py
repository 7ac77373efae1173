import jax
import numpy as np
import pytest

from meanet_jax.data.device_resident import ROW_BYTES, ResidentImages


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (5, 3, 3)])
def test_taken_images_are_those_of_their_numbers(shape):
  images = np.random.default_rng(0).integers(256, size=(11, *shape), dtype=np.uint8)
  store, index = ResidentImages.of(images), np.asarray([3, 0, 10, 3], np.int32)
  taken = jax.jit(ResidentImages.take)(jax.device_put(store), index)
  assert taken.dtype == np.uint8
  np.testing.assert_array_equal(taken, images[index])


@pytest.mark.parametrize(("shape", "rows"), [((8, 8, 1), 1), ((16, 16, 1), 2), ((17, 16, 1), 3)])
def test_abstract_is_what_images_take(shape, rows):
  store = ResidentImages.of(np.zeros((7, *shape), np.uint8))
  assert store.rows.shape == (7, rows, ROW_BYTES)
  described = jax.tree.map(lambda x: (x.shape, x.dtype), ResidentImages.abstract(7, shape))
  assert described == jax.tree.map(lambda x: (x.shape, x.dtype), store)


def test_images_that_fill_their_rows_are_not_copied():
  images = np.zeros((3, 32, 32, 3), np.uint8)
  assert np.shares_memory(ResidentImages.of(images).rows, images)
