import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meanet_jax.models.depthwise import depthwise_conv_general_dilated
from meanet_jax.models.layers import ConvNorm


def plain(x, kernel, strides, padding):
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    strides,
    padding,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=x.shape[-1],
  )


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(
  ("size", "kernel_size", "pad"), [(9, 3, 1), (8, 3, 1), (7, 5, 2), (6, 3, 0)]
)
def test_output_and_both_gradients_are_those_of_the_convolution(stride, size, kernel_size, pad):
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.normal(size=(3, size, size + 2, 4)), jnp.float32)
  kernel = jnp.asarray(rng.normal(size=(kernel_size, kernel_size, 1, 4)), jnp.float32)
  strides, padding = (stride, stride), [(pad, pad), (pad, pad)]
  none = {"feature_group_count": 4, "lhs_dilation": (1, 1), "rhs_dilation": (1, 1)}

  def ours(x, kernel):
    return depthwise_conv_general_dilated(x, kernel, strides, padding, **none)

  def reference(x, kernel):
    return plain(x, kernel, strides, padding)

  np.testing.assert_array_equal(ours(x, kernel), reference(x, kernel))
  weights = jnp.asarray(rng.normal(size=reference(x, kernel).shape), jnp.float32)

  def gradients(function):
    return jax.grad(lambda x, k: jnp.sum(function(x, k) * weights), argnums=(0, 1))(x, kernel)

  for mine, theirs in zip(gradients(ours), gradients(reference), strict=True):
    # Sums of many products, which may cancel: the error goes with the largest of them.
    np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=3e-6 * float(np.abs(theirs).max()))


def test_the_compiled_kernel_gradient_is_not_a_dense_convolution():
  channels, batch, size = 64, 2, 16
  block = ConvNorm(channels, groups=channels)
  x = jnp.zeros((batch, size, size, channels))
  variables = block.init(jax.random.key(0), x, False)

  def loss(params):
    return jnp.sum(jnp.square(block.apply({**variables, "params": params}, x, False)))

  flops = jax.jit(jax.grad(loss)).lower(variables["params"]).compile().cost_analysis()["flops"]
  macs = batch * size * size * channels * 9
  assert flops < 2 * macs * 3  # a dense one alone would be 2 * macs * channels


def test_other_convolutions_are_refused():
  x, kernel = jnp.zeros((1, 4, 4, 4)), jnp.zeros((3, 3, 1, 4))
  dilated = {"feature_group_count": 4, "lhs_dilation": (1, 1), "rhs_dilation": (2, 2)}
  with pytest.raises(ValueError, match="depthwise convolution with"):
    depthwise_conv_general_dilated(x, kernel, (1, 1), [(1, 1), (1, 1)], **dilated)
