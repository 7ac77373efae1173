"""Convolution with a kernel gradient that XLA:CPU computes fast."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Padding = tuple[tuple[int, int], tuple[int, int]]
# Of what benchmarks/cpu_gradient.py measures: images that fit a core's cache are not cut up; others
# are, into runs of so many images, unless that makes the program too long.
CACHED_BYTES, RUN, MOST_RUNS = 2**20, 8, 8
DIMENSION_NUMBERS = ("NHWC", "HWIO", "NHWC")


def conv_general_dilated(
  x: Float[Array, "b h w c"],
  kernel: Float[Array, "kh kw i d"],
  window_strides: tuple[int, int],
  padding: Any,
  **options: Any,
) -> Float[Array, "b h2 w2 d"]:
  """`jax.lax.conv_general_dilated` as `flax.linen.Conv` calls it, without dilation.

  The forward pass is that very operation. So is the gradient, except for the kernel's on CPU.
  XLA:CPU computes that one as a convolution whose window is all pixels of all images, which leaves
  the cache; there it is

  - of a 1x1 kernel, a matrix product;
  - of a kernel with one group per channel, for each of its few places the output's gradient times
    a shifted image, summed over batch, height and width (XLA would compute a dense convolution
    over all pairs of channels and keep the diagonal);
  - of any other, the sum of XLA's own over runs of images that do fit.

  Raises:
    ValueError: dilation.
  """
  dilations = {options["lhs_dilation"], options["rhs_dilation"]}
  if dilations != {(1, 1)}:
    raise ValueError(f"convolution with dilations {sorted(dilations)}; accepted: none")
  rows, columns = (tuple(int(side) for side in pair) for pair in padding)
  groups = options["feature_group_count"]
  return _convolution(x, kernel, tuple(window_strides), (rows, columns), groups)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _convolution(
  x: Array, kernel: Array, strides: tuple[int, int], padding: Padding, groups: int
) -> Array:
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    strides,
    padding,
    dimension_numbers=DIMENSION_NUMBERS,
    feature_group_count=groups,
  )


def _forward(
  x: Array, kernel: Array, strides: tuple[int, int], padding: Padding, groups: int
) -> tuple[Array, tuple[Array, Array]]:
  return _convolution(x, kernel, strides, padding, groups), (x, kernel)


def _backward(
  strides: tuple[int, int],
  padding: Padding,
  groups: int,
  saved: tuple[Array, Array],
  gradient: Array,
) -> tuple[Array, Array]:
  x, kernel = saved
  plain = functools.partial(_convolution.fun, strides=strides, padding=padding, groups=groups)
  (x_gradient,) = jax.vjp(lambda y: plain(y, kernel), x)[1](gradient)

  def by_convolution(x: Array, gradient: Array) -> Array:
    return jax.vjp(lambda k: plain(x, k), kernel)[1](gradient)[0]

  def by_runs(x: Array, gradient: Array) -> Array:
    size = len(x)
    if x.nbytes + gradient.nbytes > CACHED_BYTES:
      size = max(RUN, -(-len(x) // MOST_RUNS))
    runs = [slice(start, start + size) for start in range(0, len(x), size)]
    parts = [by_convolution(x[run], gradient[run]).astype(jnp.float32) for run in runs]
    return functools.reduce(jnp.add, parts).astype(kernel.dtype)

  def by_product(x: Array, gradient: Array) -> Array:
    seen = x[:, :: strides[0], :: strides[1]]
    over_pixels = (((0, 1, 2), (0, 1, 2)), ((), ()))
    product = jax.lax.dot_general(seen, gradient, over_pixels, preferred_element_type=jnp.float32)
    return product.reshape(kernel.shape).astype(kernel.dtype)

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

  on_cpu = by_runs
  if 1 < groups == kernel.shape[-1]:
    on_cpu = by_shifts
  elif groups == 1 and kernel.shape[:2] == (1, 1) and padding == ((0, 0), (0, 0)):
    on_cpu = by_product
  kernel_gradient = jax.lax.platform_dependent(x, gradient, cpu=on_cpu, default=by_convolution)
  return x_gradient, kernel_gradient


_convolution.defvjp(_forward, _backward)
