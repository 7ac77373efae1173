"""From bytes to pixels, and everything that is not pixels."""

import contextlib
import io
import json
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kserve import InferInput, InferRequest
from kserve.errors import InvalidInput
from kserve.protocol.infer_type import RequestedOutput
from PIL import Image

from meanet_jax.serving.payload import OUTPUTS, decode, parse_binary, read_images, requested_outputs

GREY, COLOUR = (5, 7, 1), (6, 4, 3)


def encode(image: np.ndarray, format: str = "PNG", **options) -> bytes:
  buffer = io.BytesIO()
  Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(
    buffer, format, **options
  )
  return buffer.getvalue()


def drawn(shape: tuple[int, ...]) -> np.ndarray:
  return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def png_header(width: int, height: int) -> bytes:
  """A PNG that says it is this large and holds a few bytes of pixels."""

  def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

  header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
  pixels = zlib.compress(bytes(1000))
  return (
    b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
  )


@pytest.mark.parametrize("shape", [GREY, COLOUR])
def test_png_comes_back_exactly(shape):
  image = drawn(shape)
  np.testing.assert_array_equal(decode(encode(image), shape), image)


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
  with pytest.raises(InvalidInput, match=words):
    decode(data, GREY)


def test_a_png_of_the_right_size_with_too_few_pixels_is_refused():
  data = encode(drawn(GREY))
  with pytest.raises(InvalidInput, match="cannot be decoded"):
    decode(data[:50] + bytes(10) + data[60:], GREY)


@given(st.binary(max_size=300), st.booleans())
def test_no_bytes_do_anything_but_decode_or_be_refused(data, is_png):
  start = encode(drawn(GREY))[:40] if is_png else b"\xff\xd8\xff\xe0"
  for candidate in (data, start + data):
    with contextlib.suppress(InvalidInput):
      assert decode(candidate, GREY).shape == GREY


def request(name="image", shape=(2, 5, 7, 1), datatype="UINT8", data=None) -> InferRequest:
  return InferRequest("cloud", [InferInput(name, list(shape), datatype, data)])


@pytest.mark.parametrize(
  ("made", "words"),
  [
    (InferRequest("cloud", []), "inputs are none; accepted: one"),
    (request(name="picture"), "inputs are 'picture'"),
    (request(datatype="FP32"), "input 'image' is FP32; accepted: UINT8"),
    (request(name="encoded", shape=(1,)), "input 'encoded' is UINT8; accepted: BYTES"),
    (request(shape=(2, 7, 5, 1)), r"has shape \[2, 7, 5, 1\]; accepted: \[B, 5, 7, 1\]"),
    (request(shape=(2, 35)), r"accepted: \[B, 5, 7, 1\]"),
    (request(shape=()), r"accepted: \[B, 5, 7, 1\]"),
    (request(name="encoded", datatype="BYTES", shape=(1, 1)), r"accepted: \[B\]"),
    (request(shape=(0, 5, 7, 1)), "a request of 0 images; accepted: 1 to 3"),
    (request(shape=(4, 5, 7, 1)), "a request of 4 images"),
    (request(shape=(-1, 5, 7, 1), data=[0] * 70), "a request of -1 images"),
    (request(data=[0] * 69), "does not hold what its shape and type say"),
    (request(data=[256] * 70), "does not hold"),
    (request(data=["x"] * 70), "does not hold"),
    (request(data=[[0], [0, 1]]), "does not hold"),
    (request(name="encoded", datatype="BYTES", shape=(1,), data=["?"]), "no base64"),
    (request(name="encoded", datatype="BYTES", shape=(1,), data=[3]), "no base64"),
    (request(name="encoded", datatype="BYTES", shape=(2,), data=["eA=="]), "does not hold"),
  ],
)
def test_wrong_inputs(made, words):
  with pytest.raises(InvalidInput, match=words):
    read_images(made, GREY, max_images=3)


def binary(header: object, data: bytes = b"") -> tuple[bytes, str]:
  text = json.dumps(header).encode()
  return text + data, str(len(text))


def image_header(**changes) -> dict:
  given = {
    "name": "image",
    "shape": [1, *GREY],
    "datatype": "UINT8",
    "parameters": {"binary_data_size": 35},
  }
  return {"id": "7", "inputs": [given | changes]}


def test_binary_requests():
  image = drawn((1, *GREY))
  parsed = parse_binary(*binary(image_header(), image.tobytes()))
  np.testing.assert_array_equal(read_images(parsed, GREY, 3), image)
  assert parsed.id == "7"
  file = encode(image[0])
  data = struct.pack("<I", len(file)) + file
  header = image_header(
    name="encoded", shape=[1], datatype="BYTES", parameters={"binary_data_size": len(data)}
  )
  np.testing.assert_array_equal(read_images(parse_binary(*binary(header, data)), GREY, 3), image)


@pytest.mark.parametrize(
  ("body", "length"),
  [
    (b"{}", None),
    (b"{}", "two"),
    (b"{}", "-2"),
    (b"{}", "3"),
    (b"{}", "²"),
    (b"{]", "2"),
    (b"\xff\xfe", "2"),
    binary([]),
    binary(3),
    binary({}),
    binary({"inputs": 3}),
    binary({"inputs": [3]}),
    binary({"inputs": [{}]}),
    binary(image_header(parameters=None)),
    binary(image_header(parameters={"binary_data_size": "35"}), bytes(35)),
    binary(image_header(parameters={"binary_data_size": -1}), bytes(35)),
    binary(image_header(parameters={"binary_data_size": True}), b"x"),
    binary(image_header(shape="1"), bytes(35)),
    binary(image_header(shape=[1.0, 5, 7, 1]), bytes(35)),
    binary(image_header(), bytes(36)),
    binary(image_header() | {"outputs": [3]}, bytes(35)),
    binary(image_header() | {"outputs": 3}, bytes(35)),
    binary(image_header() | {"parameters": 3}, bytes(35)),
    binary(image_header() | {"id": 3}, bytes(35)),
  ],
)
def test_wrong_binary_requests(body, length):
  with pytest.raises(InvalidInput):
    parse_binary(body, length)


json_values = st.recursive(
  st.none() | st.booleans() | st.integers() | st.text(max_size=5),
  lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
  max_leaves=8,
)


@given(
  st.sampled_from(["name", "shape", "datatype", "parameters"]), json_values, st.binary(max_size=99)
)
def test_no_binary_request_does_anything_but_be_read_or_refused(field, value, data):
  try:
    images = read_images(parse_binary(*binary(image_header(**{field: value}), data)), GREY, 3)
    assert images.shape[1:] == GREY
  except InvalidInput:
    pass


def test_outputs():
  def of(*names: str) -> InferRequest:
    outputs = [RequestedOutput(name) for name in names]
    return InferRequest("cloud", [], request_outputs=outputs or None)

  assert requested_outputs(of()) == OUTPUTS == ("class", "probability", "logits")
  assert requested_outputs(of("logits", "class", "logits")) == ("logits", "class")
  with pytest.raises(InvalidInput, match="output 'entropy' is unknown"):
    requested_outputs(of("class", "entropy"))
