"""Networks beside those of the configurations, converted: builtin operations, and JAX's logits."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.network_costs import experiment
from meanet_jax.config.networks import StructureConfig
from meanet_jax.config.parsing import resolve
from meanet_jax.models.meanet import Exits
from meanet_jax.models.variables import by_collection
from meanet_jax.tflite.convert import convert
from meanet_jax.tflite.flatbuffer import read_signatures
from meanet_jax.tflite.signatures import cloud_signature, edge_signatures
from meanet_jax.tflite.source import Source
from tests.experiments import tiny_config
from tests.exports import runner, with_drawn_weights


@pytest.fixture(autouse=True)
def standard_promotion():
  with jax.numpy_dtype_promotion("standard"):
    yield


def assert_converts(source: Source, exits: Exits) -> None:
  """Every exit in the mask from builtin operations alone, with the logits of JAX."""
  signatures = edge_signatures(source, 1, "uint8")
  if Exits.CLOUD in exits:
    signatures = [*signatures, cloud_signature(source, 1, "uint8")]
  model = convert(signatures)
  for found in read_signatures(model).values():
    assert not [o for o in found.operations if o.startswith(("CUSTOM", "STABLEHLO", "FLEX"))]
  dataset = source.config.dataset
  image = np.random.default_rng(0).integers(0, 256, (1, *dataset.image_shape)).astype(np.uint8)
  mean, std = np.float32(dataset.mean), np.float32(dataset.std)
  expected = jax.jit(source.model.apply, static_argnums=2)(
    by_collection(source.variables), jnp.asarray((image / np.float32(255) - mean) / std), exits
  )
  main = runner(model, "main")(image=image)
  ours = [(main["logits"], expected.main)]
  extension = runner(model, "extension")(image=image, features=main["features"])
  ours.append((extension["logits"], expected.extension))
  if Exits.CLOUD in exits:
    ours.append((runner(model, "cloud")(image=image)["logits"], expected.cloud))
  for logits, theirs in ours:
    assert np.abs(logits - theirs).max() <= 1e-4 * np.ptp(np.asarray(theirs))


def test_a_module_of_the_users_converts():
  config = tiny_config()
  config.model.main.structure.update(dataclasses.asdict(StructureConfig()))
  config.model.main.update(
    module="examples.own_network:ConvNeXt", arguments=json.dumps({"widths": [6]})
  )
  assert_converts(with_drawn_weights(resolve(config)), Exits.MAIN | Exits.EXTENSION)


@pytest.mark.full
@pytest.mark.parametrize(
  ("name", "split_after"),
  [
    ("mobilenet_v3_small", 0),
    ("mobilenet_v3_small", 3),
    ("mobilenet_v3_large", 0),
    ("efficientnet_b0", 0),
    ("efficientnet_lite0", 5),
  ],
)
def test_mobile_networks_convert_whole_and_split(name, split_after):
  config = experiment(name, split_after)
  dataset = dataclasses.replace(config.dataset, image_shape=(64, 64, 3))
  exits = Exits.MAIN | Exits.EXTENSION
  assert_converts(with_drawn_weights(dataclasses.replace(config, dataset=dataset)), exits)
