"""What `--encoding` sends is what the cloud sees: PNG exactly, JPEG within its tables' bound."""

import io

import grpc
import numpy as np
import pytest
from PIL import Image
from tritonclient.utils import deserialize_bytes_tensor

from meanet_jax.cloud.images import decode
from meanet_jax.edge.link.encoding import JPEG_QUALITY, Encoding, encode, parse_encoding
from meanet_jax.edge.link.messages import make_request
from meanet_jax.errors import UserError
from tests.cloud.asking import infer, output

# Of the pixels that come out, 0.5, and as much for the integer arithmetic of both transforms.
ROUNDING = 1.0


def through(encoding: Encoding, image: np.ndarray) -> np.ndarray:
  """The pixels that the server decodes from the message that the edge sends."""
  request = make_request(0, encode(encoding, image), image.shape, encoding)
  (data,) = deserialize_bytes_tensor(request.raw_input_contents[0])
  return decode(data, image.shape)


def quantum(encoding: Encoding, image: np.ndarray) -> float:
  """The largest root mean square error that rounding a grey file's coefficients can make.

  Each of a block's 64 coefficients is off by at most half its step; the transform is orthonormal.
  """
  file = Image.open(io.BytesIO(encode(encoding, image)))
  return float(np.sqrt(np.mean((np.array(file.quantization[0]) / 2) ** 2)))


def drawn(*shape: int) -> np.ndarray:
  return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def smooth(height: int, width: int) -> np.ndarray:
  """Colours that change slowly, which is what JPEG was made for."""
  y, x = np.mgrid[0:height, 0:width] / [[[height]], [[width]]]
  return np.rint(255 * np.stack([x, y, (x + y) / 2], axis=-1)).astype(np.uint8)


@pytest.mark.parametrize("shape", [(8, 8, 1), (5, 7, 1), (28, 28, 1), (6, 4, 3), (32, 32, 3)])
def test_png_arrives_exactly(shape):
  image = drawn(*shape)
  np.testing.assert_array_equal(through(Encoding("png"), image), image)


@pytest.mark.parametrize("quality", [25, 50, 75, JPEG_QUALITY, 100])
def test_a_grey_jpeg_arrives_within_what_its_quality_rounds(quality, source):
  encoding = parse_encoding(f"jpeg:{quality}")
  noise = drawn(20, 8, 8, 1)
  for image in (*noise, *source.dataset.test.images[:20]):
    arrived = through(encoding, image).astype(np.float64)
    error = np.sqrt(np.mean((arrived - image) ** 2))
    assert error <= quantum(encoding, image) + ROUNDING
  assert through(encoding, noise[0]).shape == (8, 8, 1)


def test_a_colour_jpeg_arrives_closer_the_better_its_quality():
  image, errors = smooth(32, 48), []
  for quality in (25, 50, 75, 95):
    arrived = through(Encoding("jpeg", quality), image).astype(np.float64)
    errors.append(np.abs(arrived - image).mean())
  assert errors == sorted(errors, reverse=True)
  assert errors[-1] < 1
  assert errors[0] < 5


@pytest.mark.parametrize("text", ["png", "jpeg:60", "jpeg"])
def test_the_real_server_sees_those_pixels(text, cloud_server, source):
  """Its logits for the file are its logits for the pixels of the file."""
  encoding, image = parse_encoding(text), source.dataset.test.images[3]
  raw = through(encoding, image)
  with grpc.insecure_channel(f"127.0.0.1:{cloud_server.grpc_port}") as channel:
    found = []
    for sent, how in ((image, encoding), (raw, Encoding())):
      request = make_request(0, encode(how, sent), image.shape, how)
      request.outputs.add(name="logits")
      found.append(output(infer(channel, request), "logits"))
  np.testing.assert_array_equal(*found)


def test_names_of_encodings():
  for text, encoding in (
    ("raw", Encoding("raw")),
    ("png", Encoding("png")),
    ("jpeg", Encoding("jpeg", JPEG_QUALITY)),
    ("jpeg:1", Encoding("jpeg", 1)),
    ("jpeg:100", Encoding("jpeg", 100)),
  ):
    assert parse_encoding(text) == encoding
    assert parse_encoding(str(encoding)) == encoding
  for text in ("", "gif", "raw:5", "jpeg:", "jpeg:0", "jpeg:101", "jpeg:-5", "jpeg:9.5", "jpeg:٣"):
    with pytest.raises(UserError, match=r"--encoding is .*; accepted: raw, png, jpeg or jpeg:"):
      parse_encoding(text)
