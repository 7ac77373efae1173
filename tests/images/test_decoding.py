"""Files to pixels: every mode, more than 8 bits, EXIF, and what no decoder can read."""

import io

import numpy as np
import pytest
from PIL import AvifImagePlugin, Image

from meanet_jax.data import decode as on_host
from meanet_jax.images.decoding import (
  MODES,
  UndecodableImageError,
  decode,
  ignore_pillow_warnings,
)
from tests.images.files import (
  DEEP_AVIF,
  DEEP_JPEG2000,
  RAMP,
  bmp_of_565,
  deep_png,
  fits_of_16_bits,
  saved,
  sgi_of_16_bits,
  tiff_of_12_bits,
)

COLOUR = np.random.default_rng(0).integers(0, 256, (6, 9, 3)).astype(np.uint8)
GREY = COLOUR[..., 0]


@pytest.mark.parametrize(
  "encoded",
  [
    saved(RAMP, "PNG"),
    saved(RAMP, "TIFF"),
    saved(RAMP, "TIFF", compression="tiff_lzw"),
    saved(Image.fromarray(RAMP.astype(">u2")), "TIFF"),
    saved(RAMP, "JPEG2000"),
    saved(RAMP, "PPM"),
    b"P5 8 8 1000\n" + np.round(RAMP / 65535 * 1000).astype(">u2").tobytes(),
    tiff_of_12_bits(RAMP >> 4),
    sgi_of_16_bits(RAMP),
  ],
)
def test_a_ramp_of_more_than_8_bits_stays_a_ramp(encoded):
  found, deep = decode(encoded, 1)
  assert deep
  # 1,000 levels are not 65,536.
  np.testing.assert_allclose(found[..., 0].astype(int), RAMP >> 8, atol=encoded[:2] == b"P5")
  colour, deep = on_host.read(encoded, 3)
  assert deep
  np.testing.assert_array_equal(colour, np.repeat(found, 3, axis=-1))


def test_a_ramp_whose_zero_is_white_is_turned_round():
  data = saved(RAMP, "TIFF")
  with Image.open(io.BytesIO(data)) as image:
    interpretation = image.tag_v2[262]
  assert interpretation == 1
  entry = b"\x06\x01\x03\x00\x01\x00\x00\x00"  # tag 262, one short
  white = data.replace(entry + b"\x01\x00", entry + b"\x00\x00")
  np.testing.assert_array_equal(decode(white, 1).pixels[..., 0], 255 - (RAMP >> 8))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_colour_of_16_bits_keeps_its_upper_bytes(channels):
  values = np.random.default_rng(channels).integers(0, 1 << 16, (5, 6, channels)).astype(np.uint16)
  found, deep = decode(deep_png(values), channels)
  assert deep
  np.testing.assert_array_equal(found, values >> 8)


@pytest.mark.parametrize(
  "encoded",
  [
    DEEP_AVIF,
    b"P6 8 8 65535\n" + np.stack([RAMP, RAMP[::-1], RAMP.T], -1).astype(">u2").tobytes(),
  ],
)
def test_colour_of_more_than_8_bits_is_said_to_be_deep(encoded):
  found, deep = decode(encoded, 3)
  assert deep
  # Both decoders round where the rule keeps the upper bits.
  expected = np.stack([RAMP, RAMP[::-1], RAMP.T], -1) >> 8
  np.testing.assert_allclose(found.astype(int), expected, atol=1)


def test_deep_colour_whose_white_would_turn_black_is_refused():
  with Image.open(io.BytesIO(DEEP_JPEG2000)) as image:
    assert np.asarray(image)[7, 7, 0] == 0  # the largest value; else the rule can go
  with pytest.raises(UndecodableImageError, match=r"^it is JPEG 2000 colour of more than 8 bits, "):
    decode(DEEP_JPEG2000, 3)


def test_fits_of_16_bits_is_refused():
  encoded = fits_of_16_bits(RAMP)
  with Image.open(io.BytesIO(encoded)) as image:
    assert np.asarray(image).ravel()[0] == 1 << 15  # which is the value 0; else the rule can go
  with pytest.raises(UndecodableImageError, match=r"^it is FITS of 16 bits, whose signed values "):
    decode(encoded, 1)


@pytest.mark.parametrize(
  "encoded",
  [
    saved(COLOUR, "JPEG2000"),
    saved(COLOUR, "AVIF"),
    saved(COLOUR, "PPM"),
    b"P5 8 8 100\n" + bytes(range(64)),
    b"P3 1 1 200\n1 2 3\n",
    saved(COLOUR, "SGI"),
    bmp_of_565(RAMP),
  ],
)
def test_8_bits_are_not_said_to_be_deep(encoded):
  assert not decode(encoded, 3).deep


@pytest.mark.parametrize(
  ("image", "form"),
  [
    (np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8), "TIFF"),
    (np.arange(64, dtype=np.int32).reshape(8, 8), "TIFF"),
    (np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8), "PPM"),
  ],
)
def test_pixels_without_a_known_range_are_refused(image, form):
  mode = "F" if image.dtype == np.float32 else "I"
  with pytest.raises(UndecodableImageError, match=f"^its mode {mode} has 32 bits per pixel and no"):
    decode(saved(image, form), 1)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(
  ("mode", "form"),
  [
    ("1", "PNG"),
    ("L", "PNG"),
    ("LA", "PNG"),
    ("P", "PNG"),
    ("PA", "TIFF"),
    ("RGB", "BMP"),
    ("RGBA", "WEBP"),
    ("CMYK", "TIFF"),
    ("YCbCr", "TIFF"),
    ("LAB", "TIFF"),
  ],
)
def test_modes_of_8_bits_are_converted_as_pillow_converts_them(mode, form, channels):
  image = Image.fromarray(COLOUR)
  if mode == "LAB":
    image = Image.frombytes("LAB", image.size, image.tobytes())
  elif mode == "PA":
    image = image.convert("P").convert("PA")
  else:
    image = image.convert(mode)
  if mode in ("LA", "RGBA"):
    image.putalpha(Image.fromarray(GREY))
  encoded = saved(image, form)
  with Image.open(io.BytesIO(encoded)) as again:
    assert again.mode == mode
    opened = again.convert("RGB") if mode == "LAB" else again
    expected = np.asarray(opened.convert(MODES[channels]))
  found, deep = decode(encoded, channels)
  assert not deep
  np.testing.assert_array_equal(found, expected.reshape(6, 9, channels))
  np.testing.assert_array_equal(on_host.decode(encoded, channels), found)


def test_a_transparent_palette_is_dropped_without_a_word():
  palette = Image.fromarray(COLOUR).quantize(8)
  encoded = saved(palette, "PNG", transparency=bytes(range(0, 240, 30)))
  found = decode(encoded, 3).pixels  # a warning would be an error here
  np.testing.assert_array_equal(found, np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
  ("form", "mode"),
  [
    ("JPEG", "RGB"),
    ("PNG", "RGB"),
    ("WEBP", "RGB"),
    ("TIFF", "RGB"),
    ("TIFF", "CMYK"),  # Pillow maps it into memory
    ("AVIF", "RGB"),
  ],
)
@pytest.mark.parametrize("number", range(10))
def test_an_image_is_turned_upright(tmp_path, number, form, mode, channels):
  large = Image.fromarray(np.kron(COLOUR, np.ones((8, 8, 1), np.uint8))).convert(mode)
  encoded = saved(large, form, number)
  with Image.open(io.BytesIO(saved(large, form))) as image:
    lying = np.asarray(image.convert(MODES[channels])).astype(int)
  upright = {
    2: np.fliplr(lying),
    3: np.rot90(lying, 2),
    4: np.flipud(lying),
    5: lying.swapaxes(0, 1),
    6: np.rot90(lying, -1),
    7: np.rot90(lying, 2).swapaxes(0, 1),
    8: np.rot90(lying),
  }.get(number, lying)
  path = tmp_path / "image"
  path.write_bytes(encoded)
  for found in (
    decode(encoded, channels).pixels,
    decode(path, channels).pixels,
    on_host.decode(encoded, channels),
  ):
    np.testing.assert_array_equal(found, upright.reshape(*upright.shape[:2], channels))


def test_damaged_metadata_do_not_damage_an_image():
  encoded = saved(COLOUR, "JPEG", 6)
  start = encoded.index(b"Exif\0\0") + 6
  lying = decode(saved(COLOUR, "JPEG"), 3).pixels
  ignore_pillow_warnings()  # as every command does
  # No byte order: there is no orientation. Too many entries: the one that is there counts.
  for place, expected in ((start, lying), (start + 8, np.rot90(lying, -1))):
    flawed = encoded[:place] + b"\xff\xff" + encoded[place + 2 :]
    np.testing.assert_array_equal(decode(flawed, 3).pixels, expected)
    np.testing.assert_array_equal(on_host.decode(flawed, 3), expected)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
  "form", ["AVIF", "BMP", "DDS", "GIF", "ICNS", "JPEG2000", "PCX", "QOI", "SGI", "TGA", "WEBP"]
)
def test_a_part_of_a_file_is_undecodable_or_whole(form, channels):
  """Whatever a plugin raises. Some formats can be cut a little and still be read."""
  encoded = saved(Image.fromarray(np.kron(COLOUR, np.ones((32, 32, 1), np.uint8))), form)
  refused = []
  for length in (0, 3, 12, 40, len(encoded) // 2, len(encoded) - 30):
    try:
      assert decode(encoded[:length], channels).pixels.shape[2] == channels
    except UndecodableImageError as error:
      refused.append(str(error))
  assert len(refused) >= 3
  assert all(refused)
  assert not any("\n" in line or "0x" in line for line in refused)  # an address says nothing


@pytest.mark.parametrize(
  "error", [RuntimeError("Failed to decode\nframe 0"), IndexError(), KeyError("x"), MemoryError()]
)
def test_whatever_a_plugin_raises_is_an_undecodable_image(error, monkeypatch):
  def load(_):
    raise error

  monkeypatch.setattr(AvifImagePlugin.AvifImageFile, "load", load)
  with pytest.raises(UndecodableImageError, match=r"Failed to decode frame 0|Error in Pillow|'x'"):
    on_host.decode(saved(COLOUR, "AVIF"), 3)


def test_a_jpeg_that_claims_too_many_pixels_is_refused_everywhere(monkeypatch):
  monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)  # twice as many are an error
  for read in (on_host.read, decode):
    with pytest.raises(UndecodableImageError, match="exceeds limit"):
      read(saved(COLOUR, "JPEG"), 3)
