"""From a REST request's body to its fields, all of them checked, without KServe.

KServe's readers take what the protocol does not allow (numbers that are no whole ones, texts that
look like numbers), keep the event loop busy for seconds over a few megabytes of JSON, and turn
BYTES that are no UTF-8, which images never are, into an error.
"""

import itertools
import re
import reprlib
from typing import Any, NamedTuple

import numpy as np
import orjson

from meanet_jax.cloud.payload import TYPES, RequestError

# What costs most to parse. Objects are the request, its input, its outputs and the parameters of
# each; lists may be as many as the pixels of a batch.
_MAX_COUNTS = {b"{": 64, b"[": 400_000}
_SCALARS = (str, int, float, bool)


class Input(NamedTuple):
  """One input. data: its bytes where they follow the JSON. values: else what the JSON holds."""

  name: str
  datatype: str
  shape: list[int]
  data: bytes | None
  values: np.ndarray | None


class Body(NamedTuple):
  """What `parse_body` reads. outputs: names with their parameters."""

  id: str | None
  parameters: dict[str, Any] | None
  inputs: list[Input]
  outputs: list[tuple[str, dict[str, Any] | None]]


def parse_body(body: bytes, json_length: str | None) -> Body:
  """A request in JSON, which tensors may follow (the protocol's binary data extension).

  Args:
    body: of the request.
    json_length: header `Inference-Header-Content-Length`.

  Raises:
    RequestError: no such header, or a body that is something else.
  """
  is_number = json_length is not None and re.fullmatch("[0-9]{1,19}", json_length)
  if not is_number or (start := int(json_length)) > len(body):
    raise RequestError(
      f"header Inference-Header-Content-Length is {_shown(json_length)}; "
      f"accepted: the length of the JSON, 0 to {len(body)}"
    )
  for bracket, most in _MAX_COUNTS.items():
    if (found := body.count(bracket, 0, start)) > most:
      raise RequestError(f"the JSON has {found} times '{bracket.decode()}'; accepted: {most}")
  try:
    fields = _Fields(orjson.loads(body[:start]), "the request")
  except orjson.JSONDecodeError as error:
    raise RequestError(f"the request is no JSON: {error}; accepted: JSON in UTF-8") from error
  inputs = []
  for index, given in enumerate(fields.get("inputs", list, "a list")):
    read, start = _input(_Fields(given, f"inputs[{index}]"), body, start)
    inputs.append(read)
  outputs = []
  for index, given in enumerate(fields.maybe("outputs", list, "a list") or []):
    output = _Fields(given, f"outputs[{index}]")
    outputs.append((output.get("name", str, "a text"), _parameters(output, "binary_data")))
  if start != len(body):
    raise RequestError(
      f"the request has {len(body)} bytes; accepted: {start}, which its JSON accounts for"
    )
  return Body(
    fields.maybe("id", str, "a text"), _parameters(fields, "binary_data_output"), inputs, outputs
  )


class _Fields:
  """A JSON object of a request. where: what it is called in errors."""

  def __init__(self, value: Any, where: str):
    if not isinstance(value, dict):
      raise RequestError(f"{where} is {_shown(value)}; accepted: an object")
    self.where, self._value = where, value

  def __contains__(self, name: str) -> bool:
    return name in self._value

  def get(self, name: str, kind: type, accepted: str) -> Any:
    """A field of that very type: true is no number."""
    if name not in self._value:
      raise RequestError(f"{self.where} has no field '{name}'; accepted: {accepted}")
    value = self._value[name]
    if type(value) is not kind:
      raise RequestError(f"{name} of {self.where} is {_shown(value)}; accepted: {accepted}")
    return value

  def maybe(self, name: str, kind: type, accepted: str) -> Any:
    """The same, None for one that is null or missing."""
    return None if self._value.get(name) is None else self.get(name, kind, accepted)


def _input(fields: _Fields, body: bytes, start: int) -> tuple[Input, int]:
  """The input, and where the bytes of the next one begin."""
  name = fields.get("name", str, "a text")
  datatype = fields.get("datatype", str, "a text")
  if datatype not in TYPES.values():
    raise RequestError(
      f"datatype of input {_shown(name)} is {_shown(datatype)}; "
      f"accepted: {', '.join(TYPES.values())}"
    )
  shape = fields.get("shape", list, "a list of whole numbers")
  if odd := [size for size in shape if type(size) is not int]:
    raise RequestError(
      f"shape of input {_shown(name)} holds {_shown(odd[0])}; accepted: whole numbers"
    )
  parameters = _parameters(fields) or {}
  if ("data" in fields) == ("binary_data_size" in parameters):
    found = "both of" if "data" in fields else "none of"
    raise RequestError(
      f"input {_shown(name)} has {found} field 'data' and parameter 'binary_data_size'; "
      "accepted: one of them"
    )
  if "data" in fields:
    values = _values(fields.get("data", list, "a list"), datatype, name)
    return Input(name, datatype, shape, None, values), start
  size, left = parameters["binary_data_size"], len(body) - start
  if type(size) is not int or not 0 <= size <= left:
    raise RequestError(
      f"binary_data_size of input {_shown(name)} is {_shown(size)}; "
      f"accepted: 0 to {left}, the bytes that are left"
    )
  return Input(name, datatype, shape, body[start : start + size], None), start + size


def _values(data: list, datatype: str, name: str) -> np.ndarray:
  """The numbers or texts of a list, or of lists in it that are all of one length."""
  level = data
  while (kinds := set(map(type, level))) == {list}:
    if len(set(map(len, level))) > 1:
      raise RequestError(
        f"input {_shown(name)} holds lists of different lengths; "
        "accepted: a list, or lists that make up its shape"
      )
    level = list(itertools.chain.from_iterable(level))
  kind, accepted = (str, "texts in base64") if datatype == "BYTES" else (int, "whole numbers")
  if kinds - {kind}:
    odd = next(value for value in level if type(value) is not kind)
    raise RequestError(f"input {_shown(name)} holds {_shown(odd)}; accepted: {accepted}")
  if kind is str:
    return np.array(level, object)
  try:
    return np.frombuffer(bytes(level), np.uint8)
  except ValueError:
    wrong = next(value for value in level if not 0 <= value <= 255)
    raise RequestError(
      f"input {_shown(name)} holds {_shown(wrong)}; accepted: whole numbers from 0 to 255"
    ) from None


def _parameters(fields: _Fields, switch: str | None = None) -> dict[str, Any] | None:
  """Field `parameters`. switch: the one of them that has to be true or false."""
  given = fields.maybe("parameters", dict, "an object")
  for name, value in (given or {}).items():
    if type(value) not in _SCALARS:
      raise RequestError(
        f"parameter {_shown(name)} of {fields.where} is {_shown(value)}; "
        "accepted: a text, a number, true or false"
      )
    if name == switch and not isinstance(value, bool):
      raise RequestError(
        f"parameter {_shown(name)} of {fields.where} is {_shown(value)}; accepted: true or false"
      )
  return given


def _shown(value: Any) -> str:
  """Of a long one the beginning."""
  return reprlib.repr(value)
