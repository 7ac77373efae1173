"""From bytes to pixels, and everything that is not pixels."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from tritonclient.grpc.service_pb2 import ModelInferRequest as Request

from meanet_jax.cloud.images import (
  OUTPUTS,
  RequestError,
  decode,
  read_images,
  requested_outputs,
)
from tests.cloud.asking import bytes_tensor, tensor_request

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


def typed(name: str, datatype: str, shape: tuple[int, ...], **contents) -> Request:
  """A request whose numbers or files are in fields instead of raw bytes."""
  request = Request()
  given = request.inputs.add(name=name, datatype=datatype, shape=shape)
  for field, values in contents.items():
    getattr(given.contents, field).extend(values)
  return request


PIXELS, FILE = bytes(70), encode(drawn(GREY))


@pytest.mark.parametrize(
  ("made", "words"),
  [
    (Request(), "inputs are none; accepted: one"),
    (tensor_request(PIXELS, (2, 5, 7, 1), "picture"), "inputs are 'picture'"),
    (tensor_request(PIXELS, (2, 5, 7, 1), "image", "FP32"), "input 'image' is FP32"),
    (tensor_request(FILE, (1,), "encoded"), "input 'encoded' is UINT8; accepted: BYTES"),
    (tensor_request(PIXELS, (2, 7, 5, 1)), r"has shape \[2, 7, 5, 1\]; accepted: \[B, 5, 7, 1\]"),
    (tensor_request(PIXELS, (2, 35)), r"accepted: \[B, 5, 7, 1\]"),
    (tensor_request(PIXELS, ()), r"accepted: \[B, 5, 7, 1\]"),
    (tensor_request(FILE, (1, 1), "encoded", "BYTES"), r"accepted: \[B\]"),
    (tensor_request(FILE, (), "encoded", "BYTES"), r"accepted: \[B\]"),
    (tensor_request(b"", (0, 5, 7, 1)), "a request of 0 images; accepted: 1 to 3"),
    (tensor_request(bytes(140), (4, 5, 7, 1)), "a request of 4 images"),
    (tensor_request(PIXELS, (-1, 5, 7, 1)), "a request of -1 images"),
    (tensor_request(PIXELS, (2**62, 5, 7, 1)), "a request of 4611686018427387904 images"),
    (tensor_request(bytes(69), (2, 5, 7, 1)), "does not hold what its shape and type say: 69 val"),
    (tensor_request(bytes(71), (2, 5, 7, 1)), "does not hold what its shape and type say: 71 val"),
    (typed("image", "UINT8", (2, 5, 7, 1)), "does not hold what its shape and type say: 0 values"),
    (typed("image", "UINT8", (2, 5, 7, 1), uint_contents=[256] * 70), "a value above 255"),
    (typed("image", "UINT8", (2, 5, 7, 1), int_contents=[1] * 70), "0 values"),
    (
      tensor_request(bytes_tensor([FILE]), (2,), "encoded", "BYTES"),
      "does not hold .*: 1 elements",
    ),
    (tensor_request(bytes(3), (1,), "encoded", "BYTES"), "does not hold .*: 3 bytes left over"),
    (tensor_request(b"\xff" * 6, (1,), "encoded", "BYTES"), "element of 4294967295 bytes, 2 are"),
    (typed("encoded", "BYTES", (1,), bytes_contents=[b"?"]), "cannot be decoded"),
  ],
)
def test_wrong_inputs(made, words):
  with pytest.raises(RequestError, match=words):
    read_images(made, GREY, max_images=3)


def test_two_inputs_or_tensors_are_refused():
  request = tensor_request(PIXELS, (2, 5, 7, 1))
  request.raw_input_contents.append(b"x")
  with pytest.raises(RequestError, match="raw_input_contents has 2 entries"):
    read_images(request, GREY, 3)
  request.inputs.add(name="image")
  with pytest.raises(RequestError, match="inputs are 'image', 'image'"):
    read_images(request, GREY, 3)


def test_raw_and_typed_values_are_the_same_pixels():
  image = drawn((2, *GREY))
  files = [encode(one) for one in image]
  for request in (
    tensor_request(image.tobytes(), image.shape),
    typed("image", "UINT8", image.shape, uint_contents=image.ravel().tolist()),
    tensor_request(bytes_tensor(files), (2,), "encoded", "BYTES"),
    typed("encoded", "BYTES", (2,), bytes_contents=files),
  ):
    np.testing.assert_array_equal(read_images(request, GREY, 3), image)


def test_outputs():
  assert requested_outputs([]) == OUTPUTS == ("class", "probability", "logits")
  assert requested_outputs(["logits", "class", "logits"]) == ("logits", "class")
  with pytest.raises(RequestError, match="output 'entropy' is unknown"):
    requested_outputs(["class", "entropy"])
