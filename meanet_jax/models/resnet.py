"""ResNet's blocks (He et al. 2016; the bottleneck strides at its 3x3 convolution)."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from meanet_jax.models.layers import ConvNorm, Dtype

BOTTLENECK_EXPANSION = 4  # output channels / inner channels


class BasicBlock(nn.Module):
  """Two 3x3 convolutions; a 1x1 convolution as shortcut where the shape changes."""

  width: int
  stride: int = 1
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 d"]:
    numerics = {"dtype": self.dtype, "axis_name": self.axis_name}
    y = ConvNorm(self.width, stride=self.stride, name="conv1", **numerics)(x, train)
    y = ConvNorm(self.width, activation=None, name="conv2", **numerics)(y, train)
    return nn.relu(y + shortcut(x, self.width, self.stride, train, self.dtype, self.axis_name))


class Bottleneck(nn.Module):
  """1x1, 3x3, 1x1 convolutions with 4 x width output channels.

  The last batch norm's scale begins at 0, so that a fresh block is its shortcut (Goyal et al. 2017,
  section 5.1). With scales of 1 a fresh ResNet-101 in training mode is chaotic: each block enlarges
  whatever differs, bfloat16's rounding in the stem (0.3% of the features' spread) to 100% at the
  logits.
  """

  width: int
  stride: int = 1
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 d"]:
    numerics = {"dtype": self.dtype, "axis_name": self.axis_name}
    out = BOTTLENECK_EXPANSION * self.width
    y = ConvNorm(self.width, kernel=1, name="conv1", **numerics)(x, train)
    y = ConvNorm(self.width, stride=self.stride, name="conv2", **numerics)(y, train)
    last = ConvNorm(
      out,
      kernel=1,
      activation=None,
      scale_init=nn.initializers.zeros,
      name="conv3",
      **numerics,
    )
    y = last(y, train)
    return nn.relu(y + shortcut(x, out, self.stride, train, self.dtype, self.axis_name))


def shortcut(
  x: Float[Array, "b h w c"],
  width: int,
  stride: int,
  train: bool,
  dtype: Dtype,
  axis_name: str | None,
) -> Float[Array, "b h2 w2 d"]:
  """`x` itself, or a strided 1x1 convolution of it where the block changes its shape.

  Called within a block's compact method, whose parameter `shortcut` it makes.
  """
  if stride == 1 and x.shape[-1] == width:
    return x
  project = ConvNorm(
    width,
    kernel=1,
    stride=stride,
    activation=None,
    dtype=dtype,
    axis_name=axis_name,
    name="shortcut",
  )
  return project(x, train)
