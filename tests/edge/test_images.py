"""Image files as a person has them: grey, colour, transparent, turned, of any size."""

import numpy as np
import pytest
from PIL import Image

from meanet_jax.edge.decode import decode_file
from meanet_jax.errors import UserError
from meanet_jax.images.preprocessing import WHOLE


def read(path, shape: tuple[int, int, int]) -> np.ndarray:
  return decode_file(path, shape, WHOLE).pixels


def save(tmp_path, array: np.ndarray, mode: str, **options):
  path = tmp_path / "image.png"
  Image.fromarray(array).convert(mode).save(path, **options)
  return path


def test_an_image_of_the_right_size_is_read_as_it_is(tmp_path):
  rng = np.random.default_rng(0)
  grey = rng.integers(0, 256, (5, 7)).astype(np.uint8)
  np.testing.assert_array_equal(read(save(tmp_path, grey, "L"), (5, 7, 1)), grey[..., None])
  colour = rng.integers(0, 256, (5, 7, 3)).astype(np.uint8)
  np.testing.assert_array_equal(read(save(tmp_path, colour, "RGB"), (5, 7, 3)), colour)


def test_modes_are_converted_as_documented(tmp_path):
  colour = np.random.default_rng(0).integers(0, 256, (4, 4, 3)).astype(np.uint8)
  grey = read(save(tmp_path, colour, "RGB"), (4, 4, 1))[..., 0]
  luma = colour @ np.array([0.299, 0.587, 0.114])  # ITU-R 601-2
  assert np.abs(grey - luma).max() <= 1
  transparent = np.dstack([colour, np.full((4, 4), 7, np.uint8)])
  np.testing.assert_array_equal(read(save(tmp_path, transparent, "RGBA"), (4, 4, 3)), colour)
  same = read(save(tmp_path, grey, "L"), (4, 4, 3))
  np.testing.assert_array_equal(same, np.repeat(grey[..., None], 3, axis=-1))


def test_other_sizes_are_resized_by_averaging(tmp_path):
  checks = np.kron(np.eye(4), np.full((10, 10), 200)).astype(np.uint8)
  small = read(save(tmp_path, checks, "L"), (4, 4, 1))[..., 0]
  assert small.dtype == np.uint8
  # A pixel that was picked would be 200 or 0; Pillow's triangle reaches into the neighbours.
  assert small.tolist()[1] == [43, 119, 38, 4]
  flat = np.full((33, 21), 90, np.uint8)
  assert set(read(save(tmp_path, flat, "L"), (8, 8, 1)).ravel()) == {90}
  assert read(save(tmp_path, flat, "L"), (64, 48, 1)).shape == (64, 48, 1)


def test_an_image_is_turned_upright(tmp_path):
  grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
  exif = Image.Exif()
  exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to see it upright
  path = save(tmp_path, grey, "L", exif=exif)
  np.testing.assert_array_equal(read(path, (4, 3, 1))[..., 0], np.rot90(grey, -1))


def test_what_is_no_image(tmp_path):
  noise = np.random.default_rng(0).integers(0, 256, (40, 40)).astype(np.uint8)
  whole = save(tmp_path, noise, "L")
  cut = tmp_path / "cut.png"
  cut.write_bytes(whole.read_bytes()[:600])
  for path in (tmp_path, tmp_path / "missing.png", cut):
    with pytest.raises(UserError, match=r"image .* cannot be read: .*; accepted: an image file"):
      read(path, (8, 8, 1))
  with pytest.raises(UserError, match="the network takes 5 channels; accepted from image files"):
    read(whole, (8, 8, 5))


def test_deeper_images_are_converted_or_refused_not_clipped(tmp_path):
  deep = tmp_path / "deep.png"
  Image.fromarray(np.full((4, 4), 30_000, np.uint16)).save(deep)
  np.testing.assert_array_equal(read(deep, (4, 4, 1)), np.full((4, 4, 1), 30_000 // 256))
  unknown = tmp_path / "unknown.tif"
  Image.fromarray(np.full((4, 4), 0.5, np.float32)).save(unknown)
  with pytest.raises(
    UserError, match=r"image .*unknown.tif cannot be read: its mode F has 32 bits"
  ):
    read(unknown, (4, 4, 1))
