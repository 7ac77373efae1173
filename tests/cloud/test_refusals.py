"""What the cloud tier refuses, as a real process on loopback: with which words, and how quietly."""

import contextlib
import gzip
import socket

import grpc
import numpy as np
import pytest
import requests
from tritonclient.grpc import service_pb2, service_pb2_grpc

from tests.cloud.asking import (
  INFER,
  bytes_tensor,
  image_request,
  infer,
  json_body,
  post_binary,
  tensor_request,
)
from tests.cloud.test_payload import drawn, encode, png_chunks, png_file, png_header
from tests.servers import READY, cloud_server_process

SMALL = np.zeros((1, 8, 8, 1), np.uint8)
# A PNG over which Pillow raises an IndexError: it has an empty colour profile after the pixels.
DAMAGED = png_file(*png_chunks(encode(drawn((8, 8, 1))))[:-1], (b"iCCP", b""), (b"IEND", b""))


@pytest.mark.parametrize(
  ("request_", "words"),
  [
    (tensor_request(bytes(64), (1, 8, 8, 1), "picture"), "accepted: one, 'image' or 'encoded'"),
    (tensor_request(bytes(64), (1, 8, 8, 1), "image", "FP32"), "accepted: UINT8"),
    (tensor_request(bytes(64), (1, 8, 8, 1), "image", "NONE"), "invalid content type"),
    (tensor_request(bytes(64), (1, 64)), "accepted: [B, 8, 8, 1]"),
    (tensor_request(bytes(63), (1, 8, 8, 1)), "does not hold"),
    (tensor_request(bytes(64), (-1, 8, 8, 1)), "accepted: 1 to 64"),
    (tensor_request(bytes(65 * 64), (65, 8, 8, 1)), "accepted: 1 to 64"),
    (tensor_request(b"\xff\xff\xff\xff", (1,), "encoded", "BYTES"), "does not hold"),
    (tensor_request(bytes_tensor([b"GIF89a"]), (1,), "encoded", "BYTES"), "PNG or JPEG"),
    (
      tensor_request(bytes_tensor([png_header(8000, 8000)]), (1,), "encoded", "BYTES"),
      "is 8000x8000 L; accepted: 8x8 L",
    ),
    (tensor_request(bytes_tensor([DAMAGED]), (1,), "encoded", "BYTES"), "cannot be decoded"),
    (service_pb2.ModelInferRequest(model_name="cloud"), "inputs are none"),
    (
      service_pb2.ModelInferRequest(model_name="cloud", raw_input_contents=[b"x"]),
      "number of inputs",
    ),
  ],
)
def test_wrong_grpc_requests(channel, request_, words):
  with pytest.raises(grpc.RpcError) as caught:
    infer(channel, request_)
  assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
  assert words in caught.value.details()
  infer(channel, image_request(SMALL))


def test_a_message_that_is_none_of_the_protocols(channel):
  call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
  with pytest.raises(grpc.RpcError) as caught:
    call(b"\xff\xff\xff", timeout=60)
  assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
  assert "a message of 3 bytes cannot be decoded" in str(caught.value.details())


def refused(call, request) -> grpc.StatusCode:
  with pytest.raises(grpc.RpcError) as caught:
    call(request, timeout=60)
  assert "Traceback" not in str(caught.value.details())
  return caught.value.code()


def test_what_else_grpc_refuses(channel):
  stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
  other = service_pb2.ModelInferRequest(model_name="other")
  assert refused(stub.ModelInfer, other) is grpc.StatusCode.NOT_FOUND
  version = image_request(SMALL)
  version.model_version = "7"
  assert refused(stub.ModelInfer, version) is grpc.StatusCode.NOT_FOUND
  version = service_pb2.ModelReadyRequest(name="cloud", version="7")
  assert refused(stub.ModelReady, version) is grpc.StatusCode.NOT_FOUND
  unload = service_pb2.RepositoryModelUnloadRequest(model_name="cloud")
  assert refused(stub.RepositoryModelUnload, unload) is grpc.StatusCode.UNIMPLEMENTED
  large = tensor_request(bytes(17_000_000), (1, 8, 8, 1))
  assert refused(stub.ModelInfer, large) is grpc.StatusCode.RESOURCE_EXHAUSTED
  # Compressed it is small; what it would become is not.
  with pytest.raises(grpc.RpcError) as caught:
    infer(channel, large, compression=grpc.Compression.Gzip)
  assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
  infer(channel, image_request(SMALL))


@pytest.mark.parametrize(
  ("body", "words"),
  [
    (json_body(SMALL, name="picture"), "accepted: one, 'image' or 'encoded'"),
    (json_body(SMALL, datatype="INT8"), "accepted: UINT8"),
    (json_body(SMALL, shape=[1, 64]), "accepted: [B, 8, 8, 1]"),
    (json_body(SMALL, shape="large"), "shape"),
    (json_body(SMALL, data=[0] * 63), "does not hold"),
    (json_body(SMALL, data=[256] * 64), "holds 256; accepted: whole numbers from 0 to 255"),
    (json_body(SMALL, data=[0.5] * 64), "holds 0.5; accepted: whole numbers"),
    (json_body(SMALL, data=[[1], 2]), "holds [1]; accepted: whole numbers"),
    (json_body(SMALL, parameters={"binary_data_size": 64}), "accepted: one of them"),
    (json_body(SMALL, name="encoded", datatype="BYTES", shape=[1], data=["?"]), "no base64"),
    (json_body(SMALL) | {"outputs": [{"name": "entropy"}]}, "accepted: class, probability, logits"),
    ({"inputs": []}, "inputs are none"),
    ({}, "inputs"),
    ([], "the request is []; accepted: an object"),
    ({"inputs": [{}] * 64}, "the JSON has 65 times '{'; accepted: 64"),
  ],
)
def test_wrong_rest_requests(url, body, words):
  answer = requests.post(url + INFER, json=body, timeout=60)
  assert answer.status_code == 400
  assert list(answer.json()) == ["error"]
  assert words in answer.json()["error"]


@pytest.mark.parametrize(
  ("path", "body", "type", "status"),
  [
    (INFER, b"{", "application/json", 400),
    (INFER, b"[" * 1_000_000, "application/json", 400),
    (INFER, b"1" * 1_000_000, "application/json", 400),
    (INFER, b"\xff\xfe", "application/json", 400),
    (INFER, b"{}", "application/octet-stream", 400),
    (INFER, gzip.compress(bytes(100), mtime=0), "application/json", 400),
    (INFER, b"", "application/json", 400),
    (INFER, bytes(4_000_001), "application/json", 413),
    (INFER, bytes(16_000_001), "application/octet-stream", 413),
    (INFER, iter([bytes(9_000_000)] * 2), "application/octet-stream", 413),
    ("/v2/models/other/infer", b'{"inputs": []}', "application/json", 404),
    ("/v2/models/cloud/versions/2/infer", b'{"inputs": []}', "application/json", 404),
    ("/v2/repository/models/cloud/unload", b"", "application/json", 404),
    ("/v1/models/cloud:predict", b"{}", "application/json", 404),
    ("/openapi.json", b"", "application/json", 404),
  ],
)
def test_what_else_rest_refuses(url, path, body, type, status):
  answer = requests.post(url + path, data=body, headers={"Content-Type": type}, timeout=60)
  assert answer.status_code == status, answer.text
  assert list(answer.json()) == ["error"]
  assert "Traceback" not in answer.text


def test_a_damaged_image_over_rest_and_that_it_is_counted(url):
  def count() -> float:
    text = requests.get(f"{url}/metrics", timeout=60).text
    (line,) = [line for line in text.splitlines() if 'refused_total{reason="invalid"}' in line]
    return float(line.split()[1])

  requests.post(url + INFER, json={}, timeout=60)
  before = count()
  data = bytes_tensor([DAMAGED])
  header = {"name": "encoded", "shape": [1], "datatype": "BYTES"}
  answer = post_binary(
    url, {"inputs": [header | {"parameters": {"binary_data_size": len(data)}}]}, data
  )
  assert answer.status_code == 400
  assert answer.json() == {"error": "an encoded image cannot be decoded; accepted: PNG or JPEG"}
  # What is refused before the model is asked counts as well.
  for body in ({}, {"inputs": 3}, []):
    requests.post(url + INFER, json=body, timeout=60)
  requests.post(url + INFER, json=json_body(SMALL), headers={"ce-id": "1"}, timeout=60)
  assert count() == before + 5


@pytest.mark.parametrize(
  "data",
  [
    b"\x00" * 1000,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # the beginning of TLS
    b"GET / HTTP/9.9\r\n\r\n",
    b"POST " + INFER.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
    b"POST " + INFER.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: " + b"a" * 200_000,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
  ],
)
def test_garbage_on_either_port_is_survived(cloud_server, channel, url, data):
  for port in (cloud_server.http_port, cloud_server.grpc_port):
    with (
      contextlib.suppress(ConnectionError),  # it may hang up before it has heard everything
      socket.create_connection(("127.0.0.1", port), timeout=60) as connection,
    ):
      connection.sendall(data)
  infer(channel, image_request(SMALL))
  assert requests.get(f"{url}/v2/health/ready", timeout=60).json() == {"ready": True}


def test_a_full_server_says_so(finished_run):
  flags = ("--max_queue=8", "--max_batch=8", "--max_wait_ms=60000")  # waits for a whole batch
  with cloud_server_process(finished_run.path, *flags) as server:
    url = f"http://127.0.0.1:{server.http_port}"
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
      stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
      five, three = np.zeros((5, 8, 8, 1), np.uint8), np.zeros((3, 8, 8, 1), np.uint8)
      pending = stub.ModelInfer.future(image_request(five), timeout=60)
      while "cloud_waiting_images 5.0" not in requests.get(f"{url}/metrics", timeout=60).text:
        assert not pending.done()
      answer = requests.post(url + INFER, json=json_body(five), timeout=60)
      assert answer.status_code == 503
      assert answer.json() == {"error": "5 images wait; accepted: 8"}
      assert refused(stub.ModelInfer, image_request(five)) is grpc.StatusCode.RESOURCE_EXHAUSTED
      assert requests.get(f"{url}/v2/health/ready", timeout=60).status_code == 200
      assert 'refused_total{reason="busy"} 2.0' in requests.get(f"{url}/metrics", timeout=60).text
      infer(channel, image_request(three))
      pending.result()


def test_nothing_of_this_reached_the_log(cloud_server):
  """Runs last: bad requests are counted, not logged."""
  begun = next(i for i, line in enumerate(cloud_server.output) if READY.search(line))
  assert cloud_server.output[begun + 1 :] == []
