import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.bfloat16 import experiment, losses
from meanet_jax.models.meanet import Exits
from meanet_jax.models.variables import init_variables
from meanet_jax.models.zoo import build
from meanet_jax.training.optimizers import make_optimizer
from meanet_jax.training.stages import CLOUD
from meanet_jax.training.state import create_state
from meanet_jax.training.steps import Recipe, make_train_step, stage_key


@pytest.fixture(autouse=True)
def flax_promotes() -> Iterator[None]:
  """Flax's batch norm computes its statistics in float32 by promotion."""
  with jax.numpy_dtype_promotion("standard"):
    yield


def test_a_step_computes_in_bfloat16_and_keeps_float32(tiny):
  """The gradient is float32's but for bfloat16's rounding, of 8 bits; parameters stay float32."""

  def after(dtype: str):
    config = dataclasses.replace(tiny, model=dataclasses.replace(tiny.model, compute_dtype=dtype))
    model = build(config)
    variables = init_variables(model, 0, config.dataset.image_shape, ("cloud",))
    settings = dataclasses.replace(config.stages.cloud, momentum=0.0, schedule="constant")
    tx = make_optimizer(settings, 10)
    state = create_state(CLOUD, variables, tx)
    rng = np.random.default_rng(0)
    batch = {
      "image": jnp.asarray(rng.integers(256, size=(16, 8, 8, 1)), jnp.uint8),
      "label": jnp.asarray(rng.integers(10, size=16), jnp.int32),
      "position": jnp.arange(16, dtype=jnp.int32),
    }
    step = make_train_step(model, CLOUD, Recipe(settings, tx), config.dataset)
    new, sums = jax.jit(step)(state, batch, stage_key(0, "cloud"))
    moved = jax.tree.map(lambda a, b: np.asarray(a - b).ravel(), new.params, state.params)
    return float(sums["loss"]), np.concatenate(jax.tree.leaves(moved)), new

  full, gradient, _ = after("float32")
  half, rounded, state = after("bfloat16")
  assert full != half == pytest.approx(full, rel=0.02)
  cosine = gradient @ rounded / np.linalg.norm(gradient) / np.linalg.norm(rounded)
  assert 0.98 < cosine < 0.9999999
  for leaf in jax.tree.leaves((state.params, state.batch_stats)):
    assert leaf.dtype == jnp.float32


# One network of each kind of block and stem; the benchmark measures every network.
@pytest.mark.full
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
