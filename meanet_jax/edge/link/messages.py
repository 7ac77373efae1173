"""The Open Inference Protocol's messages: a request for one image, and its answer.

Answers are validated: anything but a valid answer to the request raises `BadAnswerError`.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from tritonclient.grpc import service_pb2 as protocol
from tritonclient.utils import serialize_byte_tensor

from meanet_jax.annotations import Shaped
from meanet_jax.edge.link.encoding import Encoding
from meanet_jax.edge.link.replies import CloudAnswer, Fallback
from meanet_jax.protocol import (
  CLASS,
  CLASSES_PARAMETER,
  ENCODED,
  IMAGE,
  LOGITS,
  MODEL,
  PROBABILITY,
)

_INTEGERS = {"INT32": "int_contents", "INT64": "int64_contents"}
_FLOATS = {"FP32": "fp32_contents", "FP64": "fp64_contents"}
_DTYPES = {"INT32": "<i4", "INT64": "<i8", "FP32": "<f4", "FP64": "<f8"}


class BadAnswerError(Exception):
  """An answer that is none. fallback: `WRONG_SHAPE` or `WRONG_CLASSES`."""

  def __init__(self, fallback: Fallback, message: str):
    super().__init__(message)
    self.fallback = fallback


def make_request(
  number: int,
  data: bytes,
  shape: tuple[int, int, int],
  encoding: Encoding,
  outputs: Sequence[str] = (CLASS, PROBABILITY),
) -> protocol.ModelInferRequest:
  """A request for the class and probability of one image, perhaps for its logits as well.

  Args:
    number: identifies the request, and its answer.
    data: the image's bytes in its encoding.
    shape: height, width, channels.
    encoding: of `data`.
    outputs: names of what is asked for.
  """
  request = protocol.ModelInferRequest(model_name=MODEL, id=str(number))
  if encoding.kind == "raw":
    request.inputs.add(name=IMAGE, datatype="UINT8", shape=[1, *shape])
  else:
    request.inputs.add(name=ENCODED, datatype="BYTES", shape=[1])
    data = serialize_byte_tensor(np.array([data], np.object_)).item()
  request.raw_input_contents.append(data)
  for name in outputs:
    request.outputs.add(name=name)
  return request


def read_answer(
  response: protocol.ModelInferResponse, number: int, num_classes: int, digest: str
) -> CloudAnswer:
  """The answer in a response to `make_request`, with logits if it holds any.

  Args:
    response: from the network.
    number: of the request.
    num_classes: C.
    digest: `classes_digest` of the class names; not compared where a server sends none.

  Raises:
    BadAnswerError: an answer to something else, without the outputs or with ones of another shape
      or type, a class that does not exist, a number that is no probability, logits that are not
      finite, other classes.
  """
  if response.id not in ("", str(number)):
    raise BadAnswerError(Fallback.WRONG_SHAPE, f"it answers request {response.id!r}, not {number}")
  found = (
    response.parameters[CLASSES_PARAMETER].string_param
    if CLASSES_PARAMETER in response.parameters
    else digest
  )
  if found != digest:
    raise BadAnswerError(Fallback.WRONG_CLASSES, f"its classes have SHA-256 {found[:12]}...")
  prediction = int(_values(response, CLASS, _INTEGERS, [1])[0])
  probability = float(_values(response, PROBABILITY, _FLOATS, [1])[0])
  if not 0 <= prediction < num_classes:
    raise BadAnswerError(Fallback.WRONG_CLASSES, f"its class is {prediction} of {num_classes}")
  if not (math.isfinite(probability) and 0 <= probability <= 1 + 1e-6):
    raise BadAnswerError(Fallback.WRONG_CLASSES, f"its probability is {probability}")
  if all(output.name != LOGITS for output in response.outputs):
    return CloudAnswer(prediction, probability)
  logits = _values(response, LOGITS, _FLOATS, [1, num_classes])
  if not np.isfinite(logits).all():
    raise BadAnswerError(Fallback.WRONG_CLASSES, "its logits are not finite")
  return CloudAnswer(prediction, probability, tuple(logits.tolist()))


def check_metadata(
  metadata: protocol.ModelMetadataResponse,
  shape: tuple[int, int, int],
  num_classes: int,
  encoding: Encoding,
) -> str | None:
  """What makes a model another than the one that edge.json goes with; None if nothing does.

  Args:
    metadata: of the model.
    shape: height, width, channels.
    num_classes: C.
    encoding: what is going to be sent.
  """
  inputs = {tensor.name: tensor for tensor in metadata.inputs}
  outputs = {tensor.name: tensor for tensor in metadata.outputs}
  wanted = IMAGE if encoding.kind == "raw" else ENCODED
  if wanted not in inputs:
    return f"its inputs are {_names(inputs)}; accepted: {wanted}"
  if missing := [name for name in (CLASS, PROBABILITY) if name not in outputs]:
    return f"its outputs are {_names(outputs)}; accepted: {missing[0]} among them"
  for name, tensors, expected in (
    (IMAGE, inputs, list(shape)),
    (LOGITS, outputs, [num_classes]),
  ):
    found = list(tensors[name].shape[1:]) if name in tensors else expected
    if any(size not in (-1, want) for size, want in zip(found, expected, strict=False)) or len(
      found
    ) != len(expected):
      return f"its {name} has shape {found} per image; accepted: {expected}, as in edge.json"
  return None


def _names(tensors: dict[str, Any]) -> str:
  return ", ".join(sorted(tensors)) or "none"


def _values(
  response: protocol.ModelInferResponse, name: str, fields: dict[str, str], shape: list[int]
) -> Shaped[np.ndarray, " n"]:
  """The numbers of an output, whether its bytes are apart (raw) or in it."""
  count = math.prod(shape)
  for place, output in enumerate(response.outputs):
    if output.name != name:
      continue
    if list(output.shape) != shape or output.datatype not in fields:
      found = f"{output.datatype} {list(output.shape)}"
      raise BadAnswerError(
        Fallback.WRONG_SHAPE, f"its {name} is {found}, not {'/'.join(fields)} {shape}"
      )
    dtype = np.dtype(_DTYPES[output.datatype])
    if response.raw_output_contents:
      raw = response.raw_output_contents[place : place + 1]
      if not raw or len(raw[0]) != count * dtype.itemsize:
        raise BadAnswerError(
          Fallback.WRONG_SHAPE, f"its {name} has no {count * dtype.itemsize} bytes"
        )
      return np.frombuffer(raw[0], dtype)
    values = getattr(output.contents, fields[output.datatype])
    if len(values) != count:
      raise BadAnswerError(Fallback.WRONG_SHAPE, f"its {name} has {len(values)} values")
    return np.asarray(values, dtype)
  raise BadAnswerError(Fallback.WRONG_SHAPE, f"it has no output {name}")
