import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from meanet_jax.config.stages import AugmentConfig
from meanet_jax.data.augment import augment, crop_box, normalise

IMAGES = jnp.asarray(np.random.default_rng(0).integers(1, 256, (64, 6, 6, 3)), jnp.uint8)
POSITIONS = jnp.arange(64)
KEY = jax.random.key(5)


def crops(image: np.ndarray, pad: int) -> list[np.ndarray]:
  padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
  size = range(2 * pad + 1)
  return [padded[r : r + 6, c : c + 6] for r in size for c in size]


def test_normalise_per_channel_and_for_all():
  mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 2.0)
  expected = (np.asarray(IMAGES) / 255 - np.array(mean)) / np.array(std)
  np.testing.assert_allclose(normalise(IMAGES, mean, std), expected, rtol=1e-5, atol=1e-6)
  expected = (np.asarray(IMAGES) / 255 - 0.5) / 0.5
  np.testing.assert_allclose(normalise(IMAGES, (0.5,), (0.5,)), expected, rtol=1e-5, atol=1e-6)


def test_off_changes_nothing():
  np.testing.assert_array_equal(augment(IMAGES, POSITIONS, KEY, AugmentConfig()), IMAGES)


def test_flip_gives_the_image_or_its_mirror_and_both_occur():
  result = augment(IMAGES, POSITIONS, KEY, AugmentConfig(flip=True))
  same = [np.array_equal(a, b) for a, b in zip(result, IMAGES, strict=True)]
  mirrored = [np.array_equal(a, b[:, ::-1]) for a, b in zip(result, IMAGES, strict=True)]
  assert all(a != b for a, b in zip(same, mirrored, strict=True))
  assert 16 <= sum(same) <= 48  # of 64; outside with probability 5e-5 per side


def test_pad_crop_gives_a_crop_and_many_of_them():
  result = np.asarray(augment(IMAGES, POSITIONS, KEY, AugmentConfig(pad_crop=2)))
  places = set()
  for image, original in zip(result, np.asarray(IMAGES), strict=True):
    found = [i for i, crop in enumerate(crops(original, 2)) if np.array_equal(image, crop)]
    assert found
    places.add(found[0])
  assert len(places) > 15  # of 25


def test_an_image_is_augmented_by_its_place_in_the_global_batch():
  config = AugmentConfig(pad_crop=2, flip=True)
  whole = augment(IMAGES, POSITIONS, KEY, config)
  shards = [
    augment(IMAGES[i : i + 16], POSITIONS[i : i + 16], KEY, config) for i in (0, 16, 32, 48)
  ]
  np.testing.assert_array_equal(whole, np.concatenate(shards))
  other = augment(IMAGES, POSITIONS, jax.random.key(6), config)
  assert not np.array_equal(whole, other)


def test_crop_boxes_have_torchvisions_distribution():
  height, width = 60, 90
  keys = jax.random.split(jax.random.key(0), 2000)
  boxes = np.asarray(jax.vmap(lambda key: crop_box(key, height, width))(keys))
  top, left, rows, columns = boxes.T
  np.testing.assert_array_equal(boxes, np.round(boxes))
  assert top.min() == left.min() == 0
  assert np.all(top + rows <= height)
  assert np.all(left + columns <= width)
  area, ratio = rows * columns / (height * width), columns / rows
  assert area.min() > 0.07
  assert 0.7 < ratio.min() < 0.8
  assert 1.25 < ratio.max() < 1.4
  rng, expected = np.random.default_rng(0), []
  while len(expected) < 2000:  # torchvision's loop; a draw that never fits is rarer than 1e-3 here
    target = height * width * rng.uniform(0.08, 1)
    aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    h, w = round(np.sqrt(target / aspect)), round(np.sqrt(target * aspect))
    if 0 < w <= width and 0 < h <= height:
      expected.append(w * h / (height * width))
  for quantile in (0.1, 0.25, 0.5, 0.75, 0.9):
    assert abs(np.quantile(area, quantile) - np.quantile(expected, quantile)) < 0.03


def test_random_resized_crop_keeps_the_picture_in_place():
  """On a plane of brightness, every crop is a plane whose slope its size explains."""
  rows, columns = np.mgrid[:32, :32]
  plane = np.broadcast_to((4 * rows + 2 * columns)[..., None] + 20, (32, 32, 1))
  images = jnp.asarray(np.repeat(plane[None], 16, axis=0), jnp.uint8)
  result = augment(images, jnp.arange(16), KEY, AugmentConfig(random_resized_crop=True))
  assert result.shape == images.shape
  assert result.dtype == jnp.uint8
  keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(KEY, jnp.arange(16))
  for image, key in zip(np.asarray(result, float)[..., 0], keys, strict=True):
    top, left, height, width = np.asarray(crop_box(jax.random.fold_in(key, 2), 32, 32))
    y = top + (np.arange(32) + 0.5) * height / 32 - 0.5
    x = left + (np.arange(32) + 0.5) * width / 32 - 0.5
    expected = 4 * y[:, None] + 2 * x + 20
    # Away from the border, where interpolation has both neighbours.
    np.testing.assert_allclose(image[3:-3, 3:-3], expected[3:-3, 3:-3], atol=0.51)


def test_colour_jitter_is_pillows_brightness_contrast_and_saturation():
  result = np.asarray(augment(IMAGES, POSITIONS, KEY, AugmentConfig(colour_jitter=0.4)))
  keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(KEY, POSITIONS)
  drawn = []
  for image, original, key in zip(result, np.asarray(IMAGES), keys, strict=True):
    factors = jax.random.uniform(jax.random.fold_in(key, 3), (3,), minval=0.6, maxval=1.4)
    expected = Image.fromarray(original)
    for enhance, factor in zip(
      (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color), factors, strict=True
    ):
      expected = enhance(expected).enhance(float(factor))
    # Pillow cuts off fractions after each of the three, and the later ones enlarge that.
    np.testing.assert_allclose(image.astype(int), np.asarray(expected).astype(int), atol=4)
    assert abs(image.astype(int) - np.asarray(expected).astype(int)).mean() < 2
    drawn.append(np.asarray(factors))
  assert np.std(drawn, axis=0).min() > 0.15  # uniform over a width of 0.8: 0.23


def test_colour_jitter_leaves_a_grey_image_grey():
  grey = jnp.repeat(IMAGES[..., :1], 3, axis=-1)
  result = np.asarray(augment(grey, POSITIONS, KEY, AugmentConfig(colour_jitter=0.4)))
  assert np.ptp(result.astype(int), axis=-1).max() <= 1
  single = np.asarray(augment(IMAGES[..., :1], POSITIONS, KEY, AugmentConfig(colour_jitter=0.4)))
  np.testing.assert_allclose(single.astype(int), result[..., :1].astype(int), atol=1)


@pytest.mark.parametrize("size", [1, 2, 3, 20])
def test_cutout_blanks_one_square_with_the_mean(size):
  images = jnp.where(IMAGES == 51, jnp.uint8(52), IMAGES)  # 51 is the first channel's mean
  config = AugmentConfig(cutout=size)
  result = np.asarray(augment(images, POSITIONS, KEY, config, (0.2, 0.5, 0.0)))
  corners = set()
  for image, original in zip(result, np.asarray(images), strict=True):
    rows, columns = np.nonzero(image[..., 0] == 51)
    top, left, bottom, right = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
    expected = original.copy()
    expected[top:bottom, left:right] = (51, 128, 0)
    np.testing.assert_array_equal(image, expected)
    for start, stop in ((top, bottom), (left, right)):
      # A whole side, or what the image's border left of it: at least the half with the centre.
      assert stop - start == min(size, 6) or (
        (start == 0 or stop == 6) and size // 2 <= stop - start < size
      )
    corners.add((top, left))
  assert len(corners) > 15 or size == 20
