"""Sets of 16 bits, with alpha or of damaged files: converted and said, or refused by name."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meanet_jax.config.schema import DatasetConfig
from meanet_jax.config.stages import AugmentConfig
from meanet_jax.data.augment import augment
from meanet_jax.data.batches import Order
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.data.sources import load
from meanet_jax.data.splits import Dataset
from meanet_jax.errors import UserError
from tests.data.sets import encoded, picture, write_set
from tests.images.files import RAMP, deep_png, saved

CONFIG = DatasetConfig(name="pets", image_shape=(8, 8, 1), num_classes=2, validation_fraction=0.25)
MEGABYTES = [0, 1000]  # streamed, in memory


def loaded(root, megabytes, images: list[bytes], shape, dtype=np.uint8, **changes):
  """The set of these images, as often as it takes to split them."""
  examples = [(images[number % len(images)], number // len(images) % 2) for number in range(48)]
  write_set(root, "pets", {"train": examples, "test": examples}, shape=shape, dtype=dtype)
  return again(root, megabytes, **changes)


def again(root, megabytes, **changes) -> Dataset:
  config = dataclasses.replace(CONFIG, in_memory_mb=megabytes, **changes)
  return load(config, ReadOptions(str(root), 0))


@pytest.mark.parametrize("megabytes", MEGABYTES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_images_of_16_bits_keep_their_upper_8_and_that_is_said(tmp_path, dtype, megabytes, printed):
  dataset = loaded(tmp_path, megabytes, [saved(RAMP, "PNG")], (8, 8, 1), dtype)
  np.testing.assert_array_equal(dataset.test.images_at([3])[0, ..., 0], RAMP >> 8)
  line = "pets:1.0.0 {}: 48 images have more than 8 bits per channel; the upper 8 are used\n"
  said = printed()
  assert said.count(line.format("train")) == said.count(line.format("test")) == 1
  again(tmp_path, megabytes)  # from the index, where there is one
  assert printed().count(line.format("test")) == 2


@pytest.mark.parametrize("megabytes", MEGABYTES)
def test_float_features_are_no_images(tmp_path, megabytes):
  """TFDS keeps a float32 as the four bytes of an RGBA pixel."""
  rgba = encoded(picture(0, (8, 8), "RGBA"), "PNG")
  with pytest.raises(UserError, match=r"pets:1.0.0 has images of dtype float32; accepted: uint8 o"):
    loaded(tmp_path, megabytes, [rgba], (8, 8, 1), np.float32)


@pytest.mark.parametrize("megabytes", MEGABYTES)
def test_images_without_a_known_range_are_named(tmp_path, megabytes):
  images = [saved(RAMP, "PNG"), saved(RAMP.astype(np.float32), "TIFF")]
  words = r"image 1 of pets:1.0.0 train \(train_1.img\) cannot be decoded: its mode F has 32 bits"
  ways = r".*\(24 of 48 images\); accepted: images, or dataset.undecodable = 'skip'$"
  with pytest.raises(UserError, match=words + ways):
    loaded(tmp_path, megabytes, images, (8, 8, 1))
  dataset = again(tmp_path, megabytes, undecodable="skip")
  assert dataset.skipped == {"train": 24, "test": 24}


@pytest.mark.parametrize("megabytes", MEGABYTES)
def test_a_set_without_one_decodable_image_says_why(tmp_path, megabytes):
  words = r"image 0 of pets:1.0.0 train .* its mode I has .* \(48 of 48 images\); accepted: images$"
  with pytest.raises(UserError, match=words):
    loaded(
      tmp_path,
      megabytes,
      [saved(RAMP.astype(np.int32), "TIFF")],
      (8, 8, 1),
      undecodable="skip",
    )


@pytest.mark.parametrize("megabytes", MEGABYTES)
@pytest.mark.parametrize("channels", [2, 4])
def test_an_alpha_channel_that_is_asked_for_is_kept(tmp_path, channels, megabytes):
  values = np.random.default_rng(0).integers(0, 256, (8, 8, channels)).astype(np.uint8)
  image, shape = saved(values, "PNG"), (8, 8, channels)
  dataset = loaded(tmp_path, megabytes, [image], shape, image_shape=shape)
  np.testing.assert_array_equal(dataset.test.images_at([5])[0], values)


def test_alpha_is_cropped_and_is_no_colour(tmp_path):
  values = np.random.default_rng(0).integers(0, 256, (8, 8, 4)).astype(np.uint8)
  values[..., 3] = 200
  train = loaded(tmp_path, 0, [saved(values, "PNG")], (8, 8, 4), image_shape=(8, 8, 4)).train
  recipe = AugmentConfig(random_resized_crop=True, colour_jitter=0.5)
  batches = train.training_batches(Order(len(train), 0, "main", 4), recipe)
  images = batches(0)["image"]
  assert images.shape == (4, 8, 8, 4)
  assert set(images[..., 3].ravel()) == {200}
  assert len({image.tobytes() for image in images}) > 1  # a draw of ten may fail twice
  places = jnp.arange(4, dtype=jnp.int32)
  jittered = augment(jnp.asarray(images), places, jax.random.key(0), batches.augment)
  assert set(np.asarray(jittered)[..., 3].ravel()) == {200}
  assert not np.array_equal(jittered[..., :3], images[..., :3])


def test_a_shape_that_no_image_has_is_refused(tmp_path):
  with pytest.raises(UserError, match=r"accepted: \(8, 8, 4\), as pets:1.0.0 has"):
    loaded(tmp_path, 0, [deep_png(np.zeros((8, 8, 4), np.uint16))], (8, 8, 4))
  write_set(tmp_path, "five", {"train": [], "test": []}, shape=(8, 8, None))
  with pytest.raises(UserError, match=r"has 5 channels; accepted from images: 1 \(grey\), 2"):
    again(tmp_path, 0, name="five", image_shape=(8, 8, 5))


@pytest.mark.parametrize("megabytes", MEGABYTES)
def test_damaged_files_of_any_format_are_skipped(tmp_path, megabytes):
  good = np.kron(picture(0, (8, 8)), np.ones((4, 4, 1), np.uint8))
  damaged = [saved(good, form) for form in ("AVIF", "WEBP", "JPEG2000", "TIFF", "QOI", "PNG")]
  damaged = [one[: len(one) // 2] for one in damaged] + [b"", b"RIFF", b"\xff\xd8\xff"]
  images = [saved(good, "PNG"), *damaged, saved(good, "JPEG")]
  shape = (32, 32, 3)
  dataset = loaded(tmp_path, megabytes, images, shape, undecodable="skip", image_shape=shape)
  # 11 files four times, of which the first and the last are whole, and the first 4 once more.
  assert dataset.skipped == {"train": 4 * 9 + 3, "test": 4 * 9 + 3}
