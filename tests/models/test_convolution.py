import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meanet_jax.cost.macs import count_macs
from meanet_jax.models import convolution
from meanet_jax.models.convolution import RUN, conv_general_dilated
from meanet_jax.models.layers import ConvNorm

UNDILATED = {"lhs_dilation": (1, 1), "rhs_dilation": (1, 1)}


def plain(x, kernel, strides, padding, groups=1):
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    strides,
    padding,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=groups,
  )


def gradients(function, x, kernel, weights):
  return jax.grad(lambda x, k: jnp.sum(function(x, k) * weights), argnums=(0, 1))(x, kernel)


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("stride", [1, 2, pytest.param(3, marks=pytest.mark.full)])
@pytest.mark.parametrize(
  ("size", "kernel_size", "pad"), [(9, 3, 1), (8, 3, 1), (7, 5, 2), (6, 3, 0), (8, 1, 0), (9, 7, 3)]
)
def test_output_and_both_gradients_are_those_of_the_convolution(
  stride, size, kernel_size, pad, groups, monkeypatch
):
  monkeypatch.setattr(convolution, "CACHED_BYTES", 0)
  rng = np.random.default_rng(0)
  shape = (kernel_size, kernel_size, 4 // groups, 4 if groups == 4 else 6)
  # Two runs of images, the second of which is not full.
  x = jnp.asarray(rng.normal(size=(RUN + 3, size, size + 2, 4)), jnp.float32)
  kernel = jnp.asarray(rng.normal(size=shape), jnp.float32)
  strides, padding = (stride, stride), [(pad, pad), (pad, pad)]

  def ours(x, kernel):
    options = UNDILATED | {"feature_group_count": groups}
    return conv_general_dilated(x, kernel, strides, padding, **options)

  def reference(x, kernel):
    return plain(x, kernel, strides, padding, groups)

  np.testing.assert_array_equal(ours(x, kernel), reference(x, kernel))
  assert count_macs(ours, x, kernel) == count_macs(reference, x, kernel)
  weights = jnp.asarray(rng.normal(size=reference(x, kernel).shape), jnp.float32)
  mine, theirs = (gradients(function, x, kernel, weights) for function in (ours, reference))
  np.testing.assert_array_equal(mine[0], theirs[0])
  # Sums of many products, which may cancel: the error goes with the largest of them.
  np.testing.assert_allclose(mine[1], theirs[1], rtol=1e-5, atol=3e-6 * np.abs(theirs[1]).max())


def lowered_gradients(block: ConvNorm, x, *platforms: str) -> str:
  variables = block.init(jax.random.key(0), x, False)

  def loss(params, x):
    return jnp.sum(jnp.square(block.apply({**variables, "params": params}, x, False)))

  traced = jax.jit(jax.grad(loss, argnums=(0, 1))).trace(variables["params"], x)
  return traced.lower(lowering_platforms=platforms).as_text()


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
@pytest.mark.parametrize(("groups", "kernel"), [(1, 3), (1, 1), (8, 3)])
def test_accelerators_get_convolutions_and_nothing_else(platform, groups, kernel, monkeypatch):
  monkeypatch.setattr(convolution, "CACHED_BYTES", 0)
  block, x = ConvNorm(8, kernel, groups=groups), jnp.zeros((2 * RUN, 6, 6, 8))
  text = lowered_gradients(block, x, platform)
  assert text.count("stablehlo.convolution(") == 3  # forward, towards the image, towards the kernel
  for other in ("dot_general", "stablehlo.slice", "stablehlo.pad"):
    assert other not in text


@pytest.mark.parametrize(
  ("groups", "kernel", "size", "convolutions", "products"),
  [(1, 3, 6, 3, 0), (1, 3, 72, 4, 0), (1, 1, 72, 2, 1), (8, 3, 72, 2, 0)],
  ids=["cached", "runs", "product", "shifts"],
)
def test_a_cpu_gets_what_is_fast_there(groups, kernel, size, convolutions, products):
  block, x = ConvNorm(8, kernel, groups=groups), jnp.zeros((2 * RUN, size, size, 8))
  text = lowered_gradients(block, x, "cpu")
  assert text.count("stablehlo.convolution(") == convolutions
  assert text.count("stablehlo.dot_general") == products


def test_a_large_batch_is_cut_into_a_bounded_number_of_runs():
  x = jnp.zeros((3 * RUN * convolution.MOST_RUNS, 16, 16, 8))
  text = lowered_gradients(ConvNorm(8), x, "cpu")
  assert text.count("stablehlo.convolution(") == 2 + convolution.MOST_RUNS


def test_runs_of_images_are_no_more_flops(monkeypatch):
  monkeypatch.setattr(convolution, "CACHED_BYTES", 0)
  rng = np.random.default_rng(0)
  x, kernel = (
    jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((3 * RUN, 9, 9, 8), (3, 3, 8, 8))
  )
  options = UNDILATED | {"feature_group_count": 1}

  def flops(convolve) -> float:
    gradient = jax.grad(lambda k: jnp.sum(jnp.square(convolve(x, k))))
    return jax.jit(gradient).lower(kernel).compile().cost_analysis()["flops"]

  padding = [(1, 1), (1, 1)]
  ours = flops(lambda x, k: conv_general_dilated(x, k, (1, 1), padding, **options))
  assert ours == pytest.approx(flops(lambda x, k: plain(x, k, (1, 1), padding)), rel=0.01)


def test_the_compiled_depthwise_kernel_gradient_is_not_a_dense_convolution():
  channels, batch, size = 64, 2, 16
  block = ConvNorm(channels, groups=channels)
  x = jnp.zeros((batch, size, size, channels))
  variables = block.init(jax.random.key(0), x, False)

  def loss(params):
    return jnp.sum(jnp.square(block.apply({**variables, "params": params}, x, False)))

  flops = jax.jit(jax.grad(loss)).lower(variables["params"]).compile().cost_analysis()["flops"]
  macs = batch * size * size * channels * 9
  assert flops < 2 * macs * 3  # a dense one alone would be 2 * macs * channels


def test_dilation_is_refused():
  x, kernel = jnp.zeros((1, 4, 4, 4)), jnp.zeros((3, 3, 1, 4))
  options = {"feature_group_count": 4, "lhs_dilation": (1, 1), "rhs_dilation": (2, 2)}
  with pytest.raises(ValueError, match="convolution with dilations"):
    conv_general_dilated(x, kernel, (1, 1), [(1, 1), (1, 1)], **options)
