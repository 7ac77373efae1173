"""The cloud tier as a real process on loopback: what it answers, and what it survives."""

import base64
import contextlib
import gzip
import io
import signal
import socket
import threading

import grpc
import numpy as np
import pytest
import requests
import tritonclient.grpc
from PIL import Image
from tritonclient.grpc import service_pb2, service_pb2_grpc

from meanet_jax.config import Config
from meanet_jax.data.sources import load
from meanet_jax.data.splits import ArraySplit
from meanet_jax.models.meanet import Exits
from meanet_jax.models.zoo import build
from meanet_jax.routing.scores import scores
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.runtime.protocol import classes_digest
from meanet_jax.training.forward import ForwardPass
from meanet_jax.training.parallel import replicate
from meanet_jax.training.pipeline import load_variables
from tests.servers import CloudServer, cloud_server_process
from tests.serving.asking import (
  INFER,
  bytes_tensor,
  image_request,
  infer,
  json_body,
  output,
  post_binary,
  tensor_request,
)
from tests.serving.test_payload import encode, png_header

SMALL = np.zeros((1, 8, 8, 1), np.uint8)


@pytest.fixture(scope="module")
def images(tiny: Config) -> np.ndarray:
  return load(tiny.dataset).test.images_at(range(50))


@pytest.fixture(scope="module")
def expected(tiny: Config, finished_run: RunDirectory, images: np.ndarray) -> np.ndarray:
  """Logits of the evaluation's own forward pass."""
  model, dataset = build(tiny), load(tiny.dataset)
  variables = load_variables(tiny, model, dataset, finished_run, lambda _: None)
  forward = ForwardPass(model, Exits.CLOUD, tiny.dataset, 64)
  outputs = forward(
    replicate({"cloud": variables["cloud"]}), ArraySplit(images, np.zeros(len(images), np.int32))
  )
  assert outputs.cloud is not None
  return np.asarray(outputs.cloud)


@pytest.fixture(scope="module")
def url(cloud_server: CloudServer) -> str:
  return f"http://127.0.0.1:{cloud_server.http_port}"


@pytest.fixture
def channel(cloud_server: CloudServer):
  with grpc.insecure_channel(f"127.0.0.1:{cloud_server.grpc_port}") as channel:
    yield channel


def assert_logits(found: np.ndarray, expected: np.ndarray) -> None:
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_tritonclient_gets_the_evaluations_answers(cloud_server, images, expected):
  address = f"127.0.0.1:{cloud_server.grpc_port}"
  with tritonclient.grpc.InferenceServerClient(address) as client:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("cloud")
    tensor = tritonclient.grpc.InferInput("image", images.shape, "UINT8")
    tensor.set_data_from_numpy(images)
    said = client.infer("cloud", [tensor], request_id="7", client_timeout=60)
    metadata = client.get_model_metadata("cloud")
  assert_logits(said.as_numpy("logits"), expected)
  np.testing.assert_array_equal(said.as_numpy("class"), scores(expected).prediction)
  np.testing.assert_allclose(said.as_numpy("probability"), scores(expected).max_prob, rtol=1e-5)
  assert said.as_numpy("class").dtype == np.int32
  answer = said.get_response()
  assert answer.id == "7"
  assert {name: value.string_param for name, value in answer.parameters.items()} == {
    "dataset": "digits",
    "classes_sha256": classes_digest([str(digit) for digit in range(10)]),
  }
  described = [*metadata.inputs, *metadata.outputs]
  assert [(given.name, given.datatype, list(given.shape)) for given in described] == [
    ("image", "UINT8", [-1, 8, 8, 1]),
    ("encoded", "BYTES", [-1]),
    ("class", "INT32", [-1]),
    ("probability", "FP32", [-1]),
    ("logits", "FP32", [-1, 10]),
  ]


def test_encoded_images_and_chosen_outputs(channel, url, images, expected):
  files = [encode(image) for image in images]
  request = tensor_request(bytes_tensor(files), (50,), "encoded", "BYTES")
  request.outputs.add(name="logits")
  answer = infer(channel, request)
  assert [given.name for given in answer.outputs] == ["logits"]
  assert_logits(output(answer, "logits"), expected)
  # The same bytes over REST, after the JSON and within it.
  data = bytes_tensor(files)
  size = {"binary_data_size": len(data)}
  header = {"name": "encoded", "shape": [50], "datatype": "BYTES", "parameters": size}
  asked = [{"name": "logits", "parameters": {"binary_data": True}}]
  answer = post_binary(url, {"inputs": [header], "outputs": asked}, data)
  length = int(answer.headers["Inference-Header-Content-Length"])
  assert_logits(np.frombuffer(answer.content[length:], np.float32).reshape(50, 10), expected)
  texts = [base64.b64encode(file).decode() for file in files]
  answer = requests.post(
    url + INFER,
    json=json_body(images, name="encoded", shape=[50], datatype="BYTES", data=texts),
    timeout=60,
  ).json()
  assert_logits(np.reshape(answer["outputs"][2]["data"], (50, 10)), expected)


def test_rest_json(url, images, expected):
  answer = requests.post(url + INFER, json=json_body(images) | {"id": "7"}, timeout=60).json()
  assert answer["id"] == "7"
  assert answer["parameters"]["dataset"] == "digits"
  assert [given["name"] for given in answer["outputs"]] == ["class", "probability", "logits"]
  assert answer["outputs"][0]["data"] == scores(expected).prediction.tolist()


def test_concurrent_requests_get_their_own_answers(cloud_server, images, expected):
  found: dict[int, np.ndarray] = {}

  def ask(first: int) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{cloud_server.grpc_port}") as channel:
      for number in range(first, len(images), 10):
        answer = infer(channel, image_request(images[number : number + 1]))
        found[number] = output(answer, "logits")[0]

  threads = [threading.Thread(target=ask, args=(first,)) for first in range(10)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert_logits(np.stack([found[number] for number in range(50)]), expected)


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


def refused(call, request) -> grpc.StatusCode:
  with pytest.raises(grpc.RpcError) as caught:
    call(request, timeout=60)
  assert "Traceback" not in str(caught.value.details())
  return caught.value.code()


def test_what_else_grpc_refuses(channel):
  stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
  other = service_pb2.ModelInferRequest(model_name="other")
  assert refused(stub.ModelInfer, other) is grpc.StatusCode.NOT_FOUND
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
    (json_body(SMALL, data=[256] * 64), "does not hold"),
    (json_body(SMALL, data=[[1], 2]), "does not hold"),
    (json_body(SMALL, name="encoded", datatype="BYTES", shape=[1], data=["?"]), "no base64"),
    (json_body(SMALL) | {"outputs": [{"name": "entropy"}]}, "accepted: class, probability, logits"),
    ({"inputs": []}, "inputs are none"),
    ({}, "inputs"),
    ([], "InferenceRequest"),
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


def test_prometheus_metrics(url, channel):
  def samples() -> dict[str, float]:
    lines = requests.get(f"{url}/metrics", timeout=60).text.splitlines()
    return {
      line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
      for line in lines
      if not line.startswith("#")
    }

  infer(channel, image_request(np.zeros((3, 8, 8, 1), np.uint8)))
  before = samples()
  infer(channel, image_request(np.zeros((3, 8, 8, 1), np.uint8)))
  requests.post(url + INFER, json={"inputs": []}, timeout=60)
  after = samples()
  grown = {name: after[name] - before.get(name, 0) for name in after}
  assert grown["cloud_images_total"] == 3
  assert grown["cloud_batch_images_sum"] == 3
  assert grown["cloud_batch_seconds_count"] == 1
  assert grown["cloud_wait_seconds_count"] == 1
  assert grown['cloud_refused_total{reason="invalid"}'] == 1
  assert after["cloud_waiting_images"] == 0
  assert grown['request_predict_seconds_count{model_name="cloud"}'] == 2  # KServe's own


def test_nothing_of_this_reached_the_log(cloud_server):
  """Runs last: bad requests are counted, not logged with tracebacks."""
  assert not [line for line in cloud_server.output if "Traceback" in line], cloud_server.output


def test_sigterm_finishes_what_was_accepted(finished_run):
  with cloud_server_process(finished_run.path, "--max_wait_ms=4000") as server:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
      stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
      pending = stub.ModelInfer.future(image_request(SMALL), timeout=60)
      body: list[requests.Response] = []
      url = f"http://127.0.0.1:{server.http_port}"
      asking = threading.Thread(
        target=lambda: body.append(requests.post(url + INFER, json=json_body(SMALL), timeout=60))
      )
      asking.start()
      while "cloud_waiting_images 2.0" not in requests.get(f"{url}/metrics", timeout=60).text:
        assert not pending.done()
      server.process.send_signal(signal.SIGTERM)
      assert output(pending.result(), "logits").shape == (1, 10)
      asking.join()
      assert body[0].status_code == 200
    assert server.process.wait(60) == 0
    with pytest.raises(ConnectionRefusedError):
      socket.create_connection(("127.0.0.1", server.grpc_port), timeout=5)


def test_an_image_of_the_test_split_survives_jpeg(channel, images):
  buffer = io.BytesIO()
  Image.fromarray(images[0].squeeze(-1)).save(buffer, "JPEG", quality=95)
  request = tensor_request(bytes_tensor([buffer.getvalue()]), (1,), "encoded", "BYTES")
  assert output(infer(channel, request), "class").shape == (1,)
