"""Images to pixels, against Pillow doing all of it."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from meanet_jax.data import decode
from tests.data.sets import encoded, picture


def by_pillow(image: bytes, mode: str = "RGB") -> np.ndarray:
  with Image.open(io.BytesIO(image)) as opened:
    return np.asarray(opened.convert(mode))


def jpeg(mode: str = "RGB", **options) -> bytes:
  buffer = io.BytesIO()
  Image.fromarray(picture(7, (45, 67))).convert(mode).save(buffer, "JPEG", **options)
  return buffer.getvalue()


@pytest.mark.parametrize(
  "image",
  [
    *(jpeg(subsampling=subsampling) for subsampling in range(3)),
    jpeg(progressive=True),
    jpeg(quality=20),
    jpeg(keep_rgb=True),
    jpeg("L"),
    jpeg("CMYK"),
    jpeg() + b"bytes after the end",
    encoded(picture(7, (45, 67)), "PNG"),
    encoded(picture(7, (45, 67)), "PNG", "P"),
  ],
)
def test_pixels_are_pillows(image):
  np.testing.assert_array_equal(decode.decode(image, 3), by_pillow(image))
  np.testing.assert_array_equal(decode.decode(image, 1)[..., 0], by_pillow(image, "L"))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("length", [0, 1, 30, 600, -100])
def test_a_part_of_an_image_is_undecodable(form, length, channels):
  image = encoded(picture(0, (64, 64)), form)
  assert len(image) > 700
  with pytest.raises(decode.UndecodableImageError):
    decode.decode(image[:length], channels)


def test_a_jpeg_that_only_pillow_forgives_is_read_as_pillow_reads_it():
  image = jpeg()
  marker = image.rindex(b"\xff\xda")  # libjpeg skips bytes before a marker with a warning
  flawed = image[:marker] + b"\x00\x01\x02" + image[marker:]
  np.testing.assert_array_equal(decode.decode(flawed, 3), by_pillow(image))


def test_a_random_crop_is_cut_and_then_resized():
  image = encoded(picture(3, (60, 90)))
  for seed in range(20):
    found = decode.random_crop(image, (24, 32, 3), np.random.default_rng(seed))
    box = decode.random_box(90, 60, np.random.default_rng(seed))
    cut = Image.fromarray(by_pillow(image)).crop(box)
    expected = np.asarray(cut.resize((32, 24), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(found.astype(int), expected.astype(int), atol=1, rtol=0)


@given(st.data())
def test_a_resized_box_is_pillows_within_two_grey_levels(data):
  """Both round twice, each in its own place; noise finds a 2 in one of ten million values."""
  sides = st.integers(1, 90)
  height, width, rows, columns = (data.draw(sides) for _ in range(4))
  channels = data.draw(st.sampled_from([1, 3]))
  rng = np.random.default_rng(data.draw(st.integers(0, 99)))
  image = rng.integers(256, size=(height, width, channels), dtype=np.uint8)
  low, high = st.floats(0, 0.6), st.floats(0.7, 1)
  box = tuple(data.draw(low) * side for side in (width, height))
  box += tuple(data.draw(high) * side for side in (width, height))
  found = decode._resized(image, box, (rows, columns, channels))
  whole = Image.fromarray(image.squeeze(-1) if channels == 1 else image)
  expected = np.asarray(whole.resize((columns, rows), Image.Resampling.BILINEAR, box=box))
  assert found.shape == (rows, columns, channels)
  difference = np.abs(found.astype(int) - expected.reshape(found.shape))
  assert difference.max() <= 2
  assert (difference > 1).sum() <= 1
