"""From bytes to pixels, and everything that is not pixels."""

import base64
import contextlib
import dataclasses
import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from meanet_jax.cloud.payload import (
  OUTPUTS,
  RequestError,
  decode,
  read_images,
  requested_outputs,
)

GREY, COLOUR = (5, 7, 1), (6, 4, 3)


def encode(image: np.ndarray, format: str = "PNG", **options) -> bytes:
  buffer = io.BytesIO()
  Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(
    buffer, format, **options
  )
  return buffer.getvalue()


def drawn(shape: tuple[int, ...]) -> np.ndarray:
  return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def png_file(*chunks: tuple[bytes, bytes]) -> bytes:
  """A PNG of these names and contents, with the checksums that Pillow looks at first."""
  return b"\x89PNG\r\n\x1a\n" + b"".join(
    struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    for name, data in chunks
  )


def png_header(width: int, height: int) -> bytes:
  """A PNG that says it is this large and holds a few bytes of pixels."""
  header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
  return png_file((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
  """The opposite of `png_file`."""
  chunks, start = [], 8
  while start < len(data):
    size = int.from_bytes(data[start : start + 4], "big")
    chunks.append((data[start + 4 : start + 8], data[start + 8 : start + 8 + size]))
    start += 12 + size
  return chunks


@pytest.mark.parametrize("shape", [GREY, COLOUR])
def test_png_comes_back_exactly(shape):
  image = drawn(shape)
  np.testing.assert_array_equal(decode(encode(image), shape), image)


@pytest.mark.parametrize("shape", [(5, 7, 2), (6, 4, 4)])
def test_an_alpha_channel_comes_back(shape):
  np.testing.assert_array_equal(decode(encode(drawn(shape)), shape), drawn(shape))


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
@pytest.mark.parametrize("shape", [GREY, COLOUR])
def test_a_file_is_turned_upright_as_its_exif_says(shape, format):
  exif = Image.Exif()
  exif[0x0112] = 6
  lying = drawn((shape[1], shape[0], shape[2]))
  expected = np.rot90(decode(encode(lying, format), lying.shape), -1)
  np.testing.assert_array_equal(decode(encode(lying, format, exif=exif), shape), expected)
  with pytest.raises(RequestError, match=f"is {shape[1]}x{shape[0]} "):
    decode(encode(lying, format, exif=exif), lying.shape)
  with pytest.raises(RequestError, match=f"is {shape[0]}x{shape[1]} "):
    decode(encode(lying, format), shape)


@pytest.mark.parametrize("shape", [GREY, COLOUR])
def test_jpeg_is_what_pillow_reads(shape):
  data = encode(drawn(shape), "JPEG", quality=70)
  pixels = np.asarray(Image.open(io.BytesIO(data))).reshape(shape)
  np.testing.assert_array_equal(decode(data, shape), pixels)


@pytest.mark.parametrize(
  ("data", "words"),
  [
    (encode(drawn((7, 5, 1))), "is 5x7 L; accepted: 7x5 L"),
    (encode(drawn((5, 7, 3))), "is 7x5 RGB; accepted: 7x5 L"),
    (png_header(8000, 8000), "is 8000x8000 L; accepted: 7x5 L"),
    (png_header(100_000, 100_000), "cannot be decoded"),  # Pillow's own guard
    (encode(drawn(GREY), "GIF"), "cannot be decoded; accepted: PNG or JPEG"),
    (encode(drawn(GREY), "BMP"), "cannot be decoded"),
    (encode(drawn(GREY))[:40], "cannot be decoded"),
    (encode(drawn(GREY), "JPEG")[:-150], "cannot be decoded"),
    (b"", "cannot be decoded"),
  ],
)
def test_other_files_are_refused(data, words):
  with pytest.raises(RequestError, match=words):
    decode(data, GREY)


def test_a_png_of_the_right_size_with_too_few_pixels_is_refused():
  data = encode(drawn(GREY))
  with pytest.raises(RequestError, match="cannot be decoded"):
    decode(data[:50] + bytes(10) + data[60:], GREY)


@given(st.binary(max_size=300), st.booleans())
def test_no_bytes_do_anything_but_decode_or_be_refused(data, is_png):
  start = encode(drawn(GREY))[:40] if is_png else b"\xff\xd8\xff\xe0"
  for candidate in (data, start + data):
    with contextlib.suppress(RequestError):
      assert decode(candidate, GREY).shape == GREY


CHUNKS = (
  b"IHDR IDAT IEND PLTE tRNS gAMA cHRM sRGB sBIT pHYs tEXt zTXt iTXt eXIf iCCP acTL fcTL fdAT"
).split()


@given(
  st.integers(0, 3),
  st.lists(st.tuples(st.sampled_from(CHUNKS), st.binary(max_size=12)), min_size=1, max_size=3),
)
@example(2, [(b"iCCP", b"")])  # an IndexError of Pillow's
def test_no_chunks_of_a_png_do_anything_but_decode_or_be_refused(place, chunks):
  made = png_chunks(encode(drawn(GREY)))
  made[place:place] = chunks
  with contextlib.suppress(RequestError):
    assert decode(png_file(*made), GREY).shape == GREY


@given(st.data())
def test_no_damage_does_anything_but_decode_or_be_refused(data):
  file = bytearray(data.draw(st.sampled_from([encode(drawn(GREY), f) for f in ("PNG", "JPEG")])))
  for _ in range(data.draw(st.integers(1, 4))):
    at = data.draw(st.integers(0, len(file) - 1))
    file[at : at + data.draw(st.integers(0, 5))] = data.draw(st.binary(max_size=5))
  with contextlib.suppress(RequestError):
    assert decode(bytes(file), GREY).shape == GREY


@pytest.mark.parametrize("error", [IndexError, RuntimeError, NotImplementedError, MemoryError])
def test_whatever_a_decoder_raises_is_the_clients_error(monkeypatch, error):
  def fail(*_, **__):
    raise error

  monkeypatch.setattr(Image, "open", fail)
  with pytest.raises(RequestError, match="cannot be decoded"):
    decode(b"", GREY)


@dataclasses.dataclass
class Given:
  """An input with values in a list, read as KServe reads it."""

  name: str = "image"
  datatype: str = "UINT8"
  shape: Sequence[int] = (2, 5, 7, 1)
  data: Any = None

  def as_numpy(self) -> np.ndarray:
    dtype = np.uint8 if self.datatype == "UINT8" else object
    return np.array(self.data, dtype).reshape(self.shape)


@pytest.mark.parametrize(
  ("made", "words"),
  [
    (None, "inputs are none; accepted: one"),
    (Given(name="picture"), "inputs are 'picture'"),
    (Given(datatype="FP32"), "input 'image' is FP32; accepted: UINT8"),
    (Given(name="encoded", shape=(1,)), "input 'encoded' is UINT8; accepted: BYTES"),
    (Given(shape=(2, 7, 5, 1)), r"has shape \[2, 7, 5, 1\]; accepted: \[B, 5, 7, 1\]"),
    (Given(shape=(2, 35)), r"accepted: \[B, 5, 7, 1\]"),
    (Given(shape=()), r"accepted: \[B, 5, 7, 1\]"),
    (Given(name="encoded", datatype="BYTES", shape=(1, 1)), r"accepted: \[B\]"),
    (Given(shape=(0, 5, 7, 1)), "a request of 0 images; accepted: 1 to 3"),
    (Given(shape=(4, 5, 7, 1)), "a request of 4 images"),
    (Given(shape=(-1, 5, 7, 1), data=[0] * 70), "a request of -1 images"),
    (Given(data=[0] * 69), "does not hold what its shape and type say"),
    (Given(data=[256] * 70), "does not hold"),
    (Given(data=["x"] * 70), "does not hold"),
    (Given(data=[[0], [0, 1]]), "does not hold"),
    (Given(name="encoded", datatype="BYTES", shape=(1,), data=["?"]), "no base64"),
    (Given(name="encoded", datatype="BYTES", shape=(1,), data=[3]), "no base64"),
    (Given(name="encoded", datatype="BYTES", shape=(2,), data=["eA=="]), "does not hold"),
  ],
)
def test_wrong_inputs(made, words):
  with pytest.raises(RequestError, match=words):
    read_images([] if made is None else [made], GREY, max_images=3)


def test_base64_in_json():
  image = drawn(GREY)
  texts = [base64.b64encode(encode(image)).decode()] * 2
  read = read_images([Given("encoded", "BYTES", (2,), texts)], GREY, 3)
  np.testing.assert_array_equal(read, np.stack([image, image]))


def test_outputs():
  assert requested_outputs([]) == OUTPUTS == ("class", "probability", "logits")
  assert requested_outputs(["logits", "class", "logits"]) == ("logits", "class")
  with pytest.raises(RequestError, match="output 'entropy' is unknown"):
    requested_outputs(["class", "entropy"])
