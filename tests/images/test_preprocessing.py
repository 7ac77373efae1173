"""The device and every evaluation see the same pixels of the same file, to the last bit."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
from PIL import Image

from meanet_jax.config.schema import DatasetConfig
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.data.sources import load, load_test
from meanet_jax.edge.decode import decode_file
from meanet_jax.images.preprocessing import CENTRE, WHOLE, Preprocessing
from tests.data.sets import picture, write_set
from tests.images.files import deep_png, saved

MEGABYTES = [0, 1000]  # streamed, in memory
SIZES = [(96, 48), (48, 96), (16, 24), (30, 40), (15, 11), (200, 33)]


def files(sizes: list[tuple[int, int]]) -> list[bytes]:
  """Every size in several formats, modes and orientations."""
  made = []
  kinds = itertools.cycle(
    [
      ("JPEG", "RGB"),
      ("PNG", "RGB"),
      ("WEBP", "RGBA"),
      ("JPEG", "CMYK"),
      ("TIFF", "CMYK"),
      ("PNG", "P"),
      ("JPEG", "L"),
      ("AVIF", "RGB"),
      ("PNG", "LA"),
    ]
  )
  for number, size in enumerate(sizes):
    pixels = picture(number, size)
    for orientation in (1, 3, 6, 8, 5):
      form, mode = next(kinds)
      made.append(saved(Image.fromarray(pixels).convert(mode), form, orientation))
    made.append(deep_png(pixels.astype(np.uint16) * 256 + 77))
    made.append(saved(pixels[..., 0].astype(np.uint16) * 256 + 200, "PNG", 7))
  return made


def config(megabytes: int, channels: int, **changes) -> DatasetConfig:
  fields = {"name": "pets", "image_shape": (16, 24, channels), "num_classes": 2}
  fields |= {"validation_fraction": 0.25, "in_memory_mb": megabytes}
  return DatasetConfig(**(fields | changes))


def on_the_device(encoded: bytes, directory, shape, preprocessing: Preprocessing) -> np.ndarray:
  """What the edge's command sees of the file, its preprocessing once through JSON."""
  path = directory / "image"
  path.write_bytes(encoded)
  recorded = json.loads(json.dumps(dataclasses.asdict(preprocessing)))
  return decode_file(path, shape, Preprocessing(**recorded)).pixels


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("megabytes", MEGABYTES)
def test_images_of_several_sizes_are_the_same_pixels_everywhere(tmp_path, megabytes, channels):
  encoded = files(SIZES)
  examples = [(one, number % 2) for number, one in enumerate(encoded)]
  write_set(
    tmp_path, "pets", {"train": examples[:16], "test": examples}, shape=(None, None, channels)
  )
  dataset = load(config(megabytes, channels), ReadOptions(str(tmp_path), 0))
  assert dataset.preprocessing == CENTRE
  evaluated = np.concatenate([batch[:real] for batch, real in dataset.test.batches(10)])
  for one, pixels in zip(encoded, evaluated, strict=True):
    found = on_the_device(one, tmp_path, (16, 24, channels), dataset.preprocessing)
    np.testing.assert_array_equal(found, pixels)


@pytest.mark.parametrize("megabytes", MEGABYTES)
def test_images_of_one_size_are_the_same_pixels_everywhere(tmp_path, megabytes):
  """Also whether they are streamed or not: nothing is cut off."""
  encoded = [
    saved(picture(number, (16, 24) if orientation < 5 else (24, 16)), form, orientation)
    for number, (form, orientation) in enumerate(
      itertools.product(("JPEG", "PNG", "WEBP"), (1, 2, 4, 6))
    )
  ]
  examples = [(one, number % 2) for number, one in enumerate(encoded)]
  write_set(tmp_path, "pets", {"train": examples, "test": examples}, shape=(16, 24, 3))
  dataset = load(config(megabytes, 3), ReadOptions(str(tmp_path), 0))
  assert dataset.preprocessing == WHOLE
  evaluated = dataset.test.images_at(range(len(encoded)))
  np.testing.assert_array_equal(evaluated[4], picture(4, (16, 24)))  # a PNG, upright
  for one, pixels in zip(encoded, evaluated, strict=True):
    found = on_the_device(one, tmp_path, (16, 24, 3), dataset.preprocessing)
    np.testing.assert_array_equal(found, pixels)


def test_an_object_in_the_middle_fills_what_is_evaluated():
  """Of 96x48 the central 42x42 count. The whole file would show it squeezed."""
  image = np.zeros((48, 96, 1), np.uint8)
  image[:, 22:74] = 255  # a pixel of the network reaches 5.25 pixels beyond the box
  assert CENTRE(image, (8, 8, 1)).min() == 255
  assert WHOLE(image, (8, 8, 1)).mean() < 150
  assert CENTRE.box(48, 96, (8, 8, 1)) == (27, 3, 69, 45)


def test_a_set_is_read_as_an_export_records(tmp_path):
  examples = [(saved(picture(i, (20, 40)), "PNG"), i % 2) for i in range(4)]
  write_set(tmp_path, "pets", {"train": examples, "test": examples})
  options = ReadOptions(str(tmp_path), 0)
  for preprocessing in (WHOLE, CENTRE):
    _, test = load_test(config(1000, 3), options, preprocessing)
    expected = preprocessing(picture(2, (20, 40)), (16, 24, 3))
    np.testing.assert_array_equal(test.images_at([2])[0], expected)
