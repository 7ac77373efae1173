"""The cloud tier as a real process on loopback: what it answers, and what it survives."""

import io
import signal
import socket
import threading

import grpc
import numpy as np
import pytest
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
from tests.cloud.asking import bytes_tensor, image_request, infer, output, tensor_request
from tests.cloud.test_images import encode
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


def test_encoded_images_and_named_outputs(channel, images, expected):
  request = tensor_request(
    bytes_tensor([encode(image) for image in images]), (50,), "encoded", "BYTES"
  )
  request.outputs.add(name="logits")
  answer = infer(channel, request)
  assert [given.name for given in answer.outputs] == ["logits"]
  assert_logits(output(answer, "logits"), expected)
  # In the order in which they are named.
  request = image_request(images[:2])
  for name in ("logits", "class"):
    request.outputs.add(name=name)
  answer = infer(channel, request)
  assert [given.name for given in answer.outputs] == ["logits", "class"]
  assert_logits(output(answer, "logits"), expected[:2])
  np.testing.assert_array_equal(output(answer, "class"), scores(expected[:2]).prediction)


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


def test_prometheus_metrics(cloud_server, channel):
  three = image_request(np.zeros((3, 8, 8, 1), np.uint8))
  infer(channel, three)
  before = cloud_server.metrics()
  infer(channel, three)
  after = cloud_server.metrics()
  grown = {name: after[name] - before.get(name, 0) for name in after}
  assert grown["cloud_images_total"] == 3
  assert grown["cloud_batch_images_sum"] == 3
  # Two batches, where the server found at its start that three images take less time so.
  batches = grown["cloud_batch_seconds_count"]
  assert batches in (1, 2)
  assert grown["cloud_wait_seconds_count"] == grown["cloud_batch_images_count"] == batches
  assert after["cloud_waiting_images"] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_what_was_accepted(finished_run, number):
  with cloud_server_process(finished_run.path, "--max-wait-ms=3000") as server:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
      stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
      pending = stub.ModelInfer.future(image_request(SMALL), timeout=60)
      while server.metrics()["cloud_waiting_images"] != 1:
        assert not pending.done()
      server.process.send_signal(number)
      assert output(pending.result(), "logits").shape == (1, 10)
    assert server.process.wait(60) == 0
    with pytest.raises(ConnectionRefusedError):
      socket.create_connection(("127.0.0.1", server.grpc_port), timeout=5)
    assert [line.strip() for line in server.output[-2:]] == [
      "cloud tier stops: answers what it has accepted",
      "cloud tier stopped",
    ]


def test_what_takes_longer_than_the_grace_is_given_up(finished_run):
  flags = ("--max-wait-ms=60000", "--grace-seconds=0.1")
  with cloud_server_process(finished_run.path, *flags) as server:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
      stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
      pending = stub.ModelInfer.future(image_request(SMALL), timeout=60)
      while server.metrics()["cloud_waiting_images"] != 1:
        assert not pending.done()
      server.process.send_signal(signal.SIGTERM)
      assert pending.exception().code() in (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNKNOWN,
      )
    assert server.process.wait(60) == 0


def test_an_image_of_the_test_split_survives_jpeg(channel, images):
  buffer = io.BytesIO()
  Image.fromarray(images[0].squeeze(-1)).save(buffer, "JPEG", quality=95)
  request = tensor_request(bytes_tensor([buffer.getvalue()]), (1,), "encoded", "BYTES")
  assert output(infer(channel, request), "class").shape == (1,)
