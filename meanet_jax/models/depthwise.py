"""Depthwise convolution with a kernel gradient that XLA:CPU can compute cheaply."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Padding = tuple[tuple[int, int], tuple[int, int]]


def depthwise_conv_general_dilated(
  x: Float[Array, "b h w c"],
  kernel: Float[Array, "kh kw 1 c"],
  window_strides: tuple[int, int],
  padding: Any,
  **options: Any,
) -> Float[Array, "b h2 w2 c"]:
  """`jax.lax.conv_general_dilated` for one filter per channel, as `flax.linen.Conv` calls it.

  The forward pass is that very operation. So is the gradient, except for the kernel's on CPU: XLA
  there expands a convolution with one group per channel into a dense one over all pairs of channels
  and keeps the diagonal, c times the work. For each of the kernel's few elements it is instead a
  product of the output's gradient with a shifted image, summed over batch, height and width.

  Raises:
    ValueError: dilation, or another number of groups than channels.
  """
  expected = {"feature_group_count": x.shape[-1], "lhs_dilation": (1, 1), "rhs_dilation": (1, 1)}
  found = {name: options[name] for name in expected}
  if found != expected:
    raise ValueError(f"depthwise convolution with {found}; accepted: {expected}")
  rows, columns = (tuple(int(side) for side in pair) for pair in padding)
  return _depthwise(x, kernel, tuple(window_strides), (rows, columns))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _depthwise(x: Array, kernel: Array, strides: tuple[int, int], padding: Padding) -> Array:
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    strides,
    padding,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=x.shape[-1],
  )


def _forward(
  x: Array, kernel: Array, strides: tuple[int, int], padding: Padding
) -> tuple[Array, tuple[Array, Array]]:
  return _depthwise(x, kernel, strides, padding), (x, kernel)


def _backward(
  strides: tuple[int, int], padding: Padding, saved: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
  x, kernel = saved
  plain = functools.partial(_depthwise.fun, strides=strides, padding=padding)
  (x_gradient,) = jax.vjp(lambda y: plain(y, kernel), x)[1](gradient)

  def by_convolution(x: Array, gradient: Array) -> Array:
    return jax.vjp(lambda k: plain(x, k), kernel)[1](gradient)[0]

  def by_shifts(x: Array, gradient: Array) -> Array:
    padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    batch, height, width, channels = gradient.shape

    def element(row: int, column: int) -> Array:
      end = (row + (height - 1) * strides[0] + 1, column + (width - 1) * strides[1] + 1)
      seen = jax.lax.slice(padded, (0, row, column, 0), (batch, *end, channels), (1, *strides, 1))
      return jnp.sum(seen.astype(jnp.float32) * gradient.astype(jnp.float32), axis=(0, 1, 2))

    places = [(row, column) for row in range(kernel.shape[0]) for column in range(kernel.shape[1])]
    elements = jnp.stack([element(*place) for place in places])
    return elements.reshape(kernel.shape).astype(kernel.dtype)

  kernel_gradient = jax.lax.platform_dependent(x, gradient, cpu=by_shifts, default=by_convolution)
  return x_gradient, kernel_gradient


_depthwise.defvjp(_forward, _backward)
