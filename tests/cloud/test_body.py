"""REST requests' bodies: what the protocol has, and everything that it has not."""

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meanet_jax.cloud.body import parse_body
from meanet_jax.cloud.payload import RequestError

SHAPE = [1, 5, 7, 1]
PIXELS = list(range(35))


def body(request: object, data: bytes = b"") -> tuple[bytes, str]:
  text = json.dumps(request).encode()
  return text + data, str(len(text))


def binary(**changes) -> dict:
  """A request of 35 bytes that follow it. changes: to its input."""
  sizes = {"binary_data_size": 35}
  made = {"name": "image", "shape": SHAPE, "datatype": "UINT8", "parameters": sizes}
  return {"id": "7", "inputs": [made | changes]}


def in_json(**changes) -> dict:
  """A request with its numbers in it. changes: to its input."""
  made = {"name": "image", "shape": SHAPE, "datatype": "UINT8", "data": PIXELS}
  return {"inputs": [made | changes]}


def test_binary_requests():
  request = binary() | {"outputs": [{"name": "logits", "parameters": {"binary_data": True}}]}
  request["inputs"] += binary(name="encoded", datatype="BYTES", parameters={"binary_data_size": 3})[
    "inputs"
  ]
  read = parse_body(*body(request, bytes(range(38))))
  assert read.id == "7"
  assert read.parameters is None
  assert read.inputs[0] == ("image", "UINT8", SHAPE, bytes(PIXELS), None)
  assert read.inputs[1].data == bytes([35, 36, 37])
  assert read.outputs == [("logits", {"binary_data": True})]


@pytest.mark.parametrize(
  "data",
  [PIXELS, np.reshape(PIXELS, SHAPE).tolist(), np.reshape(PIXELS, (7, 5)).tolist()],
)
def test_numbers_in_json(data):
  (read,) = parse_body(*body(in_json(data=data))).inputs
  assert read.data is None
  assert read.values is not None
  assert read.values.dtype == np.uint8
  assert read.values.tolist() == PIXELS


def test_texts_in_json():
  request = in_json(name="encoded", datatype="BYTES", shape=[2], data=["eA==", "eQ=="])
  (read,) = parse_body(*body(request)).inputs
  assert read.values is not None
  assert read.values.tolist() == ["eA==", "eQ=="]


@pytest.mark.parametrize(
  ("text", "length", "words"),
  [
    (b"{}", None, "Content-Length is None; accepted: the length of the JSON, 0 to 2"),
    (b"{}", "two", "is 'two'"),
    (b"{}", "-2", "is '-2'"),
    (b"{}", "3", "is '3'"),
    (b"{}", "²", "is '²'"),
    (b"{}", "9" * 5000, "is '9999"),
    (b"{]", "2", "is no JSON"),
    (b"\xff\xfe", "2", "is no JSON"),
    (b"[" * 2000, "2000", "is no JSON"),
    (*body([]), "the request is []; accepted: an object"),
    (*body(3), "the request is 3"),
    (*body({}), "the request has no field 'inputs'; accepted: a list"),
    (*body({"inputs": 3}), "inputs of the request is 3; accepted: a list"),
    (*body({"inputs": [3]}), "inputs[0] is 3; accepted: an object"),
    (*body({"inputs": [{}]}), "inputs[0] has no field 'name'"),
    (*body(binary(parameters=None)), "has none of field 'data' and parameter"),
    (*body(binary(data=PIXELS), bytes(35)), "has both of field 'data' and parameter"),
    (*body(binary(data=None), bytes(35)), "has both of field 'data' and parameter"),
    (*body(binary(parameters={"binary_data_size": "35"}), bytes(35)), "is '35'; accepted: 0 to 35"),
    (*body(binary(parameters={"binary_data_size": -1}), bytes(35)), "is -1; accepted: 0 to 35"),
    (*body(binary(parameters={"binary_data_size": 36}), bytes(35)), "is 36; accepted: 0 to 35"),
    (*body(binary(parameters={"binary_data_size": True}), b"x"), "is True; accepted: 0 to 1"),
    (*body(binary(shape="1"), bytes(35)), "shape of inputs[0] is '1'; accepted: a list of whole"),
    (*body(binary(shape=[1.0, 5, 7, 1]), bytes(35)), "holds 1.0; accepted: whole numbers"),
    (*body(in_json(shape=["1", 5, 7, 1])), "holds '1'; accepted: whole numbers"),
    (*body(in_json(shape=[True, 5, 7, 1])), "holds True; accepted: whole numbers"),
    (*body(in_json(shape=[2**70, 5, 7, 1])), "accepted: whole numbers"),
    (*body(in_json(datatype="uint8")), "is 'uint8'; accepted: UINT8, BYTES"),
    (*body(in_json(datatype="FP32")), "is 'FP32'; accepted: UINT8, BYTES"),
    (*body(in_json(datatype=8)), "datatype of inputs[0] is 8; accepted: a text"),
    (*body(in_json(name=["image"])), "name of inputs[0] is ['image']; accepted: a text"),
    (*body(in_json(data=[*PIXELS, 0.5])), "input 'image' holds 0.5; accepted: whole numbers"),
    (*body(in_json(data=[*PIXELS, 255.9])), "holds 255.9"),
    (*body(in_json(data=[*PIXELS, 1.0])), "holds 1.0"),
    (*body(in_json(data=[*PIXELS, True])), "holds True"),
    (*body(in_json(data=[*PIXELS, "12"])), "holds '12'"),
    (*body(in_json(data=[*PIXELS, None])), "holds None"),
    (*body(in_json(data=[*PIXELS, [1]])), "holds [1]"),
    (*body(in_json(data=[[1, 2], [3]])), "lists of different lengths"),
    (*body(in_json(data=[*PIXELS, -1])), "holds -1; accepted: whole numbers from 0 to 255"),
    (*body(in_json(data=[*PIXELS, 256])), "holds 256; accepted: whole numbers from 0 to 255"),
    (*body(in_json(data=[*PIXELS, 2**63])), "holds 9223372036854775808"),
    (*body(in_json(data=[*PIXELS, 2**70])), "accepted: whole numbers"),
    (*body(in_json(data={"0": 1})), "data of inputs[0] is {'0': 1}; accepted: a list"),
    (*body(in_json(datatype="BYTES", data=[3])), "holds 3; accepted: texts in base64"),
    (*body(in_json(parameters={"a": [1]})), "parameter 'a' of inputs[0] is [1]; accepted: a text"),
    (*body(binary(), bytes(36)), "bytes; accepted: "),
    (*body(in_json(), b"x"), "bytes; accepted: "),
    (*body(in_json() | {"id": {"a": 1}}), "id of the request is {'a': 1}; accepted: a text"),
    (*body(in_json() | {"id": 5}), "id of the request is 5; accepted: a text"),
    (*body(in_json() | {"outputs": [3]}), "outputs[0] is 3; accepted: an object"),
    (*body(in_json() | {"outputs": [{"name": 3}]}), "name of outputs[0] is 3"),
    (*body(in_json() | {"outputs": 3}), "outputs of the request is 3; accepted: a list"),
    (*body(in_json() | {"parameters": 3}), "parameters of the request is 3"),
    (*body(in_json() | {"parameters": {"binary_data_output": 1}}), "accepted: true or false"),
    (
      *body(in_json() | {"outputs": [{"name": "class", "parameters": {"binary_data": "no"}}]}),
      "parameter 'binary_data' of outputs[0] is 'no'; accepted: true or false",
    ),
    (*body({"inputs": [{}] * 64}), "the JSON has 65 times '{'; accepted: 64"),
    (*body({"inputs": [[]] * 400_000}), "times '['; accepted: 400000"),
  ],
)
def test_wrong_requests(text, length, words):
  with pytest.raises(RequestError) as caught:
    parse_body(text, length)
  assert words in str(caught.value)
  assert len(str(caught.value)) < 300


def test_five_photographs_in_json_are_within_the_default_limits():
  images = np.full((5, 224, 224, 3), 255).tolist()
  text, length = body(in_json(shape=[5, 224, 224, 3], data=images))
  (read,) = parse_body(text, length).inputs
  assert read.values is not None
  assert read.values.size == 5 * 224 * 224 * 3
  compact = json.dumps(images, separators=(",", ":"))
  assert len(compact) < 4_000_000


json_values = st.recursive(
  st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
  lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
  max_leaves=8,
)


@given(
  st.sampled_from(["name", "shape", "datatype", "parameters", "data"]),
  json_values,
  st.binary(max_size=99),
)
def test_no_request_does_anything_but_be_read_or_refused(field, value, data):
  for made in (binary(**{field: value}), in_json(**{field: value})):
    with contextlib.suppress(RequestError):
      (read,) = parse_body(*body(made, data)).inputs
      assert (read.data if read.values is None else b"") == data
      assert all(type(size) is int for size in read.shape)
