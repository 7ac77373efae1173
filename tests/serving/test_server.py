"""The cloud tier as a real process, asked through tritonclient, requests and raw sockets."""

import numpy as np
import pytest
import tritonclient.grpc

from meanet_jax.config import Config
from meanet_jax.data.sources import load
from meanet_jax.data.splits import ArraySplit
from meanet_jax.models.meanet import Exits
from meanet_jax.models.zoo import build
from meanet_jax.routing.scores import scores
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.training.forward import ForwardPass
from meanet_jax.training.parallel import replicate
from meanet_jax.training.pipeline import load_variables
from tests.servers import CloudServer


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
  return outputs.cloud


def ask(server: CloudServer, images: np.ndarray):
  client = tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{server.grpc_port}")
  tensor = tritonclient.grpc.InferInput("image", images.shape, "UINT8")
  tensor.set_data_from_numpy(images)
  with client:
    return client.infer("cloud", [tensor], client_timeout=30)


def test_answers_are_the_evaluations(cloud_server, images, expected):
  said = ask(cloud_server, images)
  np.testing.assert_allclose(said.as_numpy("logits"), expected, rtol=1e-5, atol=1e-6)
  np.testing.assert_array_equal(said.as_numpy("class"), scores(expected).prediction)
  np.testing.assert_allclose(said.as_numpy("probability"), scores(expected).max_prob, rtol=1e-5)
