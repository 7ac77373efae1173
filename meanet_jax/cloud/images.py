"""From the protocol's request to pixels, everything that a client sends checked."""

import io
import math
import struct
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from tritonclient.grpc import service_pb2 as protocol

from meanet_jax.images import decoding
from meanet_jax.images.decoding import MODES
from meanet_jax.protocol import CLASS, ENCODED, IMAGE, LOGITS, PROBABILITY

OUTPUTS = (CLASS, PROBABILITY, LOGITS)
TYPES = {IMAGE: "UINT8", ENCODED: "BYTES"}


class RequestError(ValueError):
  """Something wrong with a request; the message is the client's answer."""


def read_images(
  request: protocol.ModelInferRequest, shape: tuple[int, ...], max_images: int
) -> UInt8[np.ndarray, "b h w c"]:
  """The pixels of a request's one input, `image` or `encoded`.

  Args:
    request: from the network.
    shape: height, width, channels of the model's images.
    max_images: per request.

  Raises:
    RequestError: wrong names, types, shapes or number of values; an image that cannot be decoded or
      is of another size, which its header says before anything is decoded.
  """
  inputs = request.inputs
  if len(inputs) != 1 or inputs[0].name not in TYPES:
    names = ", ".join(repr(given.name) for given in inputs[:5]) or "none"
    raise RequestError(f"inputs are {names}; accepted: one, '{IMAGE}' or '{ENCODED}'")
  name, found = inputs[0].name, tuple(inputs[0].shape)
  if inputs[0].datatype != TYPES[name]:
    raise RequestError(f"input '{name}' is {inputs[0].datatype}; accepted: {TYPES[name]}")
  expected = shape if name == IMAGE else ()
  if not found or found[1:] != expected:
    wanted = ", ".join(map(str, ("B", *expected)))
    raise RequestError(f"input '{name}' has shape {list(found[:8])}; accepted: [{wanted}]")
  if not 1 <= found[0] <= max_images:
    raise RequestError(f"a request of {found[0]} images; accepted: 1 to {max_images}")
  raw = request.raw_input_contents
  if len(raw) > 1:
    raise RequestError(f"raw_input_contents has {len(raw)} entries; accepted: one for each input")
  if name == IMAGE:
    pixels = np.frombuffer(raw[0], np.uint8) if raw else _typed_pixels(inputs[0].contents)
    if pixels.size != math.prod(found):
      raise _unlike(name, f"{pixels.size} values for shape {list(found)}")
    return pixels.reshape(found)
  files = _split(raw[0]) if raw else list(inputs[0].contents.bytes_contents)
  if len(files) != found[0]:
    raise _unlike(name, f"{len(files)} elements for shape {list(found)}")
  return np.stack([decode(file, shape) for file in files])


def decode(data: bytes, shape: tuple[int, ...]) -> UInt8[np.ndarray, "h w c"]:
  """A PNG or JPEG file's pixels.

  Args:
    data: the file.
    shape: height, width, channels that it must have once it is upright as its EXIF says.

  Raises:
    RequestError: something else, or an image of another size or kind.
  """
  height, width, channels = shape
  try:
    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as file:
      found, mode = file.size, file.mode
    # Before anything is decoded, which a PNG's orientation may lie behind.
    if found in ((width, height), (height, width)) and mode == MODES.get(channels):
      upright = decoding.decode(data, channels).pixels
      if upright.shape == shape:
        return upright
      found = (upright.shape[1], upright.shape[0])
  except Exception as error:  # on damaged files decoders raise whatever their own code runs into
    raise RequestError("an encoded image cannot be decoded; accepted: PNG or JPEG") from error
  raise RequestError(
    f"an encoded image is {found[0]}x{found[1]} {mode}; "
    f"accepted: {width}x{height} {MODES.get(channels, 'none')}"
  )


def requested_outputs(names: Sequence[str]) -> tuple[str, ...]:
  """Which outputs to answer: those that a request names, or all.

  Raises:
    RequestError: an output that does not exist.
  """
  for name in names:
    if name not in OUTPUTS:
      raise RequestError(f"output '{name[:100]}' is unknown; accepted: {', '.join(OUTPUTS)}")
  return tuple(dict.fromkeys(names)) or OUTPUTS


def _typed_pixels(contents: protocol.InferTensorContents) -> UInt8[np.ndarray, " n"]:
  """Of a client that puts numbers into fields instead of raw bytes."""
  try:
    return np.frombuffer(bytes(contents.uint_contents), np.uint8)
  except ValueError as error:
    raise _unlike(IMAGE, "a value above 255") from error


def _split(data: bytes) -> list[bytes]:
  """The elements of a BYTES tensor, each behind its length in 4 bytes, little-endian."""
  elements, start = [], 0
  while start < len(data):
    try:
      (length,) = struct.unpack_from("<I", data, start)
    except struct.error:
      raise _unlike(ENCODED, f"{len(data) - start} bytes left over") from None
    start += 4
    if length > len(data) - start:
      raise _unlike(ENCODED, f"an element of {length} bytes, {len(data) - start} are left")
    elements.append(data[start : start + length])
    start += length
  return elements


def _unlike(name: str, found: str) -> RequestError:
  return RequestError(f"input '{name}' does not hold what its shape and type say: {found}")
