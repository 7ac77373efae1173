from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.bfloat16 import experiment, losses
from meanet_jax.models.meanet import Exits
from meanet_jax.models.zoo import build


@pytest.fixture(autouse=True)
def flax_promotes() -> Iterator[None]:
  """Flax's batch norm computes its statistics in float32 by promotion."""
  with jax.numpy_dtype_promotion("standard"):
    yield


# One network of each kind of block and stem; the benchmark measures every network.
@pytest.mark.parametrize("name", ["resnet20", "resnet18", "mobilenet_v2"])
def test_twenty_steps_lose_what_float32_loses(name):
  full, _ = losses(name, "float32")
  half, state = losses(name, "bfloat16")
  assert np.mean(half) == pytest.approx(np.mean(full), rel=0.02)
  assert half != full
  for leaf in jax.tree.leaves((state.params, state.batch_stats)):
    assert leaf.dtype == jnp.float32


def test_logits_are_float32_and_activations_are_not():
  config = experiment("resnet50", "bfloat16")
  model = build(config)
  image = jax.ShapeDtypeStruct((2, *config.dataset.image_shape), jnp.float32)
  outputs, variables = jax.eval_shape(
    lambda x: model.init_with_output(jax.random.key(0), x, Exits.ALL), image
  )
  features = jax.eval_shape(
    lambda v, x: model.apply(v, x, method="main_features"), variables, image
  )
  assert {logits.dtype for logits in outputs} == {jnp.dtype("float32")}
  assert features.dtype == jnp.bfloat16
