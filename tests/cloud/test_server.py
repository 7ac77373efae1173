"""The cloud tier as a real process on loopback: what it answers, and what it survives."""

import base64
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
from tritonclient.grpc import service_pb2_grpc

from meanet_jax.config.schema import Config
from meanet_jax.data.sources import load
from meanet_jax.data.splits import ArraySplit
from meanet_jax.models.meanet import Exits
from meanet_jax.models.zoo import build
from meanet_jax.protocol import classes_digest
from meanet_jax.routing.scores import scores
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.training.forward import ForwardPass
from meanet_jax.training.parallel import replicate
from meanet_jax.training.restore import load_variables
from tests.cloud.asking import (
  INFER,
  bytes_tensor,
  image_request,
  infer,
  json_body,
  output,
  post_binary,
  tensor_request,
)
from tests.cloud.test_payload import encode
from tests.servers import cloud_server_process

SMALL = np.zeros((1, 8, 8, 1), np.uint8)


@pytest.fixture(scope="module")
def images(tiny: Config) -> np.ndarray:
  return load(tiny.dataset).test.images_at(range(50))


@pytest.fixture(scope="module")
def expected(tiny: Config, finished_run: RunDirectory, images: np.ndarray) -> np.ndarray:
  """Logits of the evaluation's own forward pass."""
  model, dataset = build(tiny), load(tiny.dataset)
  variables = load_variables(tiny, model, dataset, finished_run)
  forward = ForwardPass(model, Exits.CLOUD, tiny.dataset, 64)
  outputs = forward(
    replicate({"cloud": variables["cloud"]}), ArraySplit(images, np.zeros(len(images), np.int32))
  )
  assert outputs.cloud is not None
  return np.asarray(outputs.cloud)


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
