"""What the cloud tier refuses, as a real process on loopback: with which words, and how quietly."""

import contextlib
import socket

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from tests.cloud.asking import bytes_tensor, image_request, infer, tensor_request
from tests.cloud.test_images import drawn, encode, png_chunks, png_file, png_header
from tests.servers import READY, cloud_server_process

SMALL = np.zeros((1, 8, 8, 1), np.uint8)
# A PNG over which Pillow raises an IndexError: it has an empty colour profile after the pixels.
DAMAGED = png_file(*png_chunks(encode(drawn((8, 8, 1))))[:-1], (b"iCCP", b""), (b"IEND", b""))
ENTROPY = image_request(SMALL)
ENTROPY.outputs.add(name="entropy")


@pytest.mark.parametrize(
  ("request_", "words"),
  [
    (tensor_request(bytes(64), (1, 8, 8, 1), "picture"), "accepted: one, 'image' or 'encoded'"),
    (tensor_request(bytes(64), (1, 8, 8, 1), "image", "FP32"), "accepted: UINT8"),
    (tensor_request(bytes(64), (1, 8, 8, 1), "image", "NONE"), "accepted: UINT8"),
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
    (ENTROPY, "output 'entropy' is unknown; accepted: class, probability, logits"),
    (service_pb2.ModelInferRequest(model_name="cloud"), "inputs are none"),
    (
      service_pb2.ModelInferRequest(model_name="cloud", raw_input_contents=[b"x"]),
      "inputs are none",
    ),
  ],
)
def test_wrong_requests_are_answered_and_counted(cloud_server, channel, request_, words):
  def count() -> float:
    return cloud_server.metrics().get('cloud_refused_total{reason="invalid"}', 0)

  before = count()
  with pytest.raises(grpc.RpcError) as caught:
    infer(channel, request_)
  assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
  assert words in caught.value.details()
  assert count() == before + 1
  infer(channel, image_request(SMALL))


def test_a_message_that_is_none_of_the_protocols(channel):
  for method in ("inference.GRPCInferenceService/ModelInfer", "grpc.health.v1.Health/Check"):
    with pytest.raises(grpc.RpcError) as caught:
      channel.unary_unary(f"/{method}")(b"\xff\xff\xff", timeout=60)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "a message of 3 bytes cannot be decoded" in str(caught.value.details())


def refused(call, request) -> grpc.StatusCode:
  with pytest.raises(grpc.RpcError) as caught:
    call(request, timeout=60)
  assert "Traceback" not in str(caught.value.details())
  return caught.value.code()


def test_what_else_is_refused(channel):
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
  assert refused(channel.unary_unary("/no.Service/Method"), b"") is grpc.StatusCode.UNIMPLEMENTED
  large = tensor_request(bytes(17_000_000), (1, 8, 8, 1))
  assert refused(stub.ModelInfer, large) is grpc.StatusCode.RESOURCE_EXHAUSTED
  # Compressed it is small; what it would become is not.
  with pytest.raises(grpc.RpcError) as caught:
    infer(channel, large, compression=grpc.Compression.Gzip)
  assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
  infer(channel, image_request(SMALL))


@pytest.mark.parametrize(
  "data",
  [
    b"\x00" * 1000,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # the beginning of TLS
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: " + b"a" * 200_000,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
  ],
)
def test_garbage_is_survived(cloud_server, channel, data):
  with (
    contextlib.suppress(ConnectionError),  # it may hang up before it has heard everything
    socket.create_connection(("127.0.0.1", cloud_server.grpc_port), timeout=60) as connection,
  ):
    connection.sendall(data)
  infer(channel, image_request(SMALL))


def test_a_full_server_says_so(finished_run):
  # It waits for a full batch.
  flags = ("--max-queue=8", "--max-images=8", "--max-batch=8", "--max-wait-ms=60000")
  with (
    cloud_server_process(finished_run.path, *flags, "--health-port=0") as server,
    grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel,
  ):
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    five, three = np.zeros((5, 8, 8, 1), np.uint8), np.zeros((3, 8, 8, 1), np.uint8)
    pending = stub.ModelInfer.future(image_request(five), timeout=60)
    while server.metrics()["cloud_waiting_images"] != 5:
      assert not pending.done()
    with pytest.raises(grpc.RpcError) as caught:
      infer(channel, image_request(five))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert caught.value.details() == "5 images wait; accepted: 8"
    assert stub.ServerReady(service_pb2.ServerReadyRequest(), timeout=60).ready
    assert server.metrics()['cloud_refused_total{reason="busy"}'] == 1
    infer(channel, image_request(three))
    pending.result()


def test_nothing_of_this_reached_the_log(cloud_server):
  """Runs last: bad requests are counted, not logged."""
  begun = next(i for i, line in enumerate(cloud_server.output) if READY.search(line))
  assert cloud_server.output[begun + 1 :] == []
