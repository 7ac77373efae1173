"""From a request of the protocol to pixels. Whatever is wrong ends as KServe's `InvalidInput`."""

import base64
import io
import struct
from typing import Any

import numpy as np
import orjson
from jaxtyping import UInt8
from kserve import InferInput, InferRequest
from kserve.errors import InvalidInput
from kserve.protocol.infer_type import RequestedOutput
from PIL import Image

from meanet_jax.runtime.protocol import CLASS, ENCODED, IMAGE, LOGITS, MODEL, PROBABILITY

OUTPUTS = (CLASS, PROBABILITY, LOGITS)
_MODES = {1: "L", 3: "RGB"}
_TYPES = {IMAGE: "UINT8", ENCODED: "BYTES"}


def read_images(
  request: InferRequest, shape: tuple[int, ...], max_images: int
) -> UInt8[np.ndarray, "b h w c"]:
  """The pixels of a request's one input, `image` or `encoded`.

  Args:
    request: as KServe read it, values unchecked.
    shape: height, width, channels of the network's images.
    max_images: per request.

  Raises:
    InvalidInput: wrong names, types, shapes or number of values; an image that cannot be decoded or
      is of another size, which its header tells before anything is decoded.
  """
  if len(request.inputs) != 1 or request.inputs[0].name not in _TYPES:
    names = ", ".join(repr(given.name) for given in request.inputs[:5]) or "none"
    raise InvalidInput(f"inputs are {names}; accepted: one, '{IMAGE}' or '{ENCODED}'")
  given = request.inputs[0]
  if given.datatype != _TYPES[given.name]:
    raise InvalidInput(f"input '{given.name}' is {given.datatype}; accepted: {_TYPES[given.name]}")
  expected = shape if given.name == IMAGE else ()
  found = list(given.shape)
  # With dimensions that are no negative numbers NumPy cannot be led to guess.
  if len(found) != 1 + len(expected) or tuple(found[1:]) != expected:
    wanted = ", ".join(map(str, ("B", *expected)))
    raise InvalidInput(f"input '{given.name}' has shape {found[:8]}; accepted: [{wanted}]")
  if not 1 <= found[0] <= max_images:
    raise InvalidInput(f"a request of {found[0]} images; accepted: 1 to {max_images}")
  try:
    values = given.as_numpy()
  except (ValueError, TypeError, OverflowError, struct.error) as error:
    raise InvalidInput(
      f"input '{given.name}' does not hold what its shape and type say: {error}"
    ) from error
  if given.name == IMAGE:
    return values
  return np.stack([decode(_as_bytes(value), shape) for value in values])


def decode(data: bytes, shape: tuple[int, ...]) -> UInt8[np.ndarray, "h w c"]:
  """A PNG or JPEG file's pixels.

  Args:
    data: the file. An EXIF orientation is not followed.
    shape: height, width, channels that it must have.

  Raises:
    InvalidInput: something else, or an image of another size or kind.
  """
  height, width, channels = shape
  try:
    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as file:
      if file.size != (width, height) or file.mode != _MODES.get(channels):
        raise InvalidInput(
          f"an encoded image is {file.width}x{file.height} {file.mode}; "
          f"accepted: {width}x{height} {_MODES.get(channels, 'none')}"
        )
      return np.asarray(file, np.uint8).reshape(shape)
  except InvalidInput:
    raise
  except (
    OSError,
    SyntaxError,
    ValueError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
  ) as error:
    raise InvalidInput("an encoded image cannot be decoded; accepted: PNG or JPEG") from error


def requested_outputs(request: InferRequest) -> tuple[str, ...]:
  """Names of the outputs that a request asks for: all, unless it names some.

  Raises:
    InvalidInput: a name that there is not.
  """
  if not request.request_outputs:
    return OUTPUTS
  names = tuple(output.name for output in request.request_outputs)
  unknown = [name for name in names if name not in OUTPUTS]
  if unknown:
    raise InvalidInput(f"output '{unknown[0]}' is unknown; accepted: {', '.join(OUTPUTS)}")
  return tuple(dict.fromkeys(names))


def parse_binary(body: bytes, json_length: str | None) -> InferRequest:
  """A REST request whose tensors follow its JSON (the protocol's binary data extension).

  KServe's own reader turns BYTES that are no UTF-8, which images never are, into an error.

  Args:
    body: of the request.
    json_length: header `Inference-Header-Content-Length`.

  Raises:
    InvalidInput: no such header, or a body that is something else.
  """
  if json_length is None or not json_length.isdecimal() or int(json_length) > len(body):
    raise InvalidInput(
      f"header Inference-Header-Content-Length is {json_length}; "
      f"accepted: the length of the JSON, 0 to {len(body)}"
    )
  length = int(json_length)
  try:
    header = orjson.loads(body[:length])
    inputs, start = [], length
    for given in header["inputs"]:
      size = _whole(given["parameters"]["binary_data_size"], len(body))
      tensor = InferInput(
        str(given["name"]),
        [_whole(size, len(body)) for size in given["shape"]],
        str(given["datatype"]),
      )
      inputs.append((tensor, body[start : start + size]))
      start += size
    outputs = [
      RequestedOutput(str(output["name"]), output.get("parameters"))
      for output in header.get("outputs") or []
    ]
    if start != len(body):
      raise ValueError(f"{len(body)} bytes, of which the inputs account for {start}")
    identifier, parameters = header.get("id"), header.get("parameters")
  except (ValueError, TypeError, AttributeError, KeyError) as error:
    found = f"no field {error}" if isinstance(error, KeyError) else str(error)
    raise InvalidInput(f"the request cannot be read: {found}") from error
  if not isinstance(parameters, dict | None) or not isinstance(identifier, str | None):
    raise InvalidInput("'parameters' or 'id' is of another type than the protocol's")
  return InferRequest(
    MODEL,
    [tensor for tensor, _ in inputs],
    request_id=identifier,
    raw_inputs=[data for _, data in inputs],
    parameters=parameters,
    request_outputs=outputs or None,
  )


def _whole(value: Any, most: int) -> int:
  if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
    raise ValueError(f"{value!r} where a whole number from 0 to {most} belongs")
  return value


def _as_bytes(value: Any) -> bytes:
  if isinstance(value, bytes):
    return value
  try:
    return base64.b64decode(value, validate=True)
  except (ValueError, TypeError) as error:
    raise InvalidInput("an encoded image in JSON is no base64") from error
