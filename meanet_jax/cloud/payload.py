"""From a request's inputs to pixels, without KServe.

Its classes of the protocol's messages cannot be loaded beside tritonclient's, which tests use.
"""

import base64
import io
import struct
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from meanet_jax.images.decoding import MODES, orientation, turned
from meanet_jax.protocol import CLASS, ENCODED, IMAGE, LOGITS, PROBABILITY

OUTPUTS = (CLASS, PROBABILITY, LOGITS)
TYPES = {IMAGE: "UINT8", ENCODED: "BYTES"}


class RequestError(ValueError):
  """Something wrong with a request; the message is what the client is told."""


@runtime_checkable
class Tensor(Protocol):
  """An input as KServe's `InferInput` has it: names and numbers as they came, unchecked."""

  @property
  def name(self) -> str:
    """Of the input."""
    ...

  @property
  def datatype(self) -> str:
    """Of the protocol."""
    ...

  @property
  def shape(self) -> Sequence[int]:
    """As the request says."""
    ...

  def as_numpy(self) -> np.ndarray:
    """The values in that shape, or an error."""
    ...


def read_images(
  inputs: Sequence[Tensor], shape: tuple[int, ...], max_images: int
) -> UInt8[np.ndarray, "b h w c"]:
  """The pixels of a request's one input, `image` or `encoded`.

  Args:
    inputs: of the request.
    shape: height, width, channels of the network's images.
    max_images: per request.

  Raises:
    RequestError: wrong names, types, shapes or number of values; an image that cannot be decoded or
      is of another size, which its header tells before anything is decoded.
  """
  if len(inputs) != 1 or inputs[0].name not in TYPES:
    names = ", ".join(repr(given.name) for given in inputs[:5]) or "none"
    raise RequestError(f"inputs are {names}; accepted: one, '{IMAGE}' or '{ENCODED}'")
  given = inputs[0]
  if given.datatype != TYPES[given.name]:
    raise RequestError(f"input '{given.name}' is {given.datatype}; accepted: {TYPES[given.name]}")
  expected = shape if given.name == IMAGE else ()
  found = list(given.shape)
  # With dimensions that are no negative numbers NumPy cannot be led to guess.
  if len(found) != 1 + len(expected) or tuple(found[1:]) != expected:
    wanted = ", ".join(map(str, ("B", *expected)))
    raise RequestError(f"input '{given.name}' has shape {found[:8]}; accepted: [{wanted}]")
  if not 1 <= found[0] <= max_images:
    raise RequestError(f"a request of {found[0]} images; accepted: 1 to {max_images}")
  try:
    values = given.as_numpy()
  except (ValueError, TypeError, OverflowError, struct.error) as error:
    raise RequestError(
      f"input '{given.name}' does not hold what its shape and type say: {error}"
    ) from error
  if given.name == IMAGE:
    return values
  return np.stack([decode(_as_bytes(value), shape) for value in values])


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
        file.load()
        pixels = np.asarray(file, np.uint8).reshape(found[1], found[0], channels)
        upright = turned(pixels, orientation(file))
        if upright.shape == shape:
          return upright
        found = (upright.shape[1], upright.shape[0])
      raise RequestError(
        f"an encoded image is {found[0]}x{found[1]} {mode}; "
        f"accepted: {width}x{height} {MODES.get(channels, 'none')}"
      )
  except RequestError:
    raise
  except Exception as error:  # on damaged files decoders raise whatever their own code runs into
    raise RequestError("an encoded image cannot be decoded; accepted: PNG or JPEG") from error


def requested_outputs(names: Sequence[str]) -> tuple[str, ...]:
  """Which outputs to answer: those that a request names, or all.

  Raises:
    RequestError: a name that there is not.
  """
  unknown = [name for name in names if name not in OUTPUTS]
  if unknown:
    raise RequestError(f"output '{unknown[0]}' is unknown; accepted: {', '.join(OUTPUTS)}")
  return tuple(dict.fromkeys(names)) or OUTPUTS


def _as_bytes(value: Any) -> bytes:
  if isinstance(value, bytes):
    return value
  try:
    return base64.b64decode(value, validate=True)
  except (ValueError, TypeError) as error:
    raise RequestError("an encoded image in JSON is no base64") from error
