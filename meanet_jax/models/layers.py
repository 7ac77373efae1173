"""What every network is made of. Images are NHWC; padding is symmetric, as in PyTorch."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from meanet_jax.models.convolution import conv_general_dilated

Dtype = Any

# torch.nn.BatchNorm2d's eps, and its momentum 0.1 in Flax's sense.
NORM_EPSILON, NORM_MOMENTUM = 1e-5, 0.9


def relu6(x: Float[Array, "*any"]) -> Float[Array, "*any"]:
  """ReLU clipped at 6."""
  return jnp.clip(x, 0, 6)


class ConvNorm(nn.Module):
  """Convolution without bias, batch norm, and an activation unless it is None.

  Input [b, h, w, c], output [b, ceil(h / stride), ceil(w / stride), width] for odd kernels.

  scale_init: the batch norm's scale to begin with.
  axis_name: the mapped axis over which batch statistics are averaged; None within one device.
  epsilon, momentum: of the batch norm, in Flax's sense.
  """

  width: int
  kernel: int = 3
  stride: int = 1
  groups: int = 1
  activation: Callable[[Array], Array] | None = nn.relu
  scale_init: nn.initializers.Initializer = nn.initializers.ones
  dtype: Dtype = jnp.float32
  axis_name: str | None = None
  epsilon: float = NORM_EPSILON
  momentum: float = NORM_MOMENTUM

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 d"]:
    pad = (self.kernel - 1) // 2
    x = nn.Conv(
      self.width,
      (self.kernel, self.kernel),
      strides=self.stride,
      padding=[(pad, pad), (pad, pad)],
      feature_group_count=self.groups,
      conv_general_dilated=conv_general_dilated,
      use_bias=False,
      dtype=self.dtype,
      kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
      name="conv",
    )(x)
    x = nn.BatchNorm(
      use_running_average=not train,
      momentum=self.momentum,
      epsilon=self.epsilon,
      dtype=self.dtype,
      scale_init=self.scale_init,
      axis_name=self.axis_name if train else None,
      name="norm",
    )(x)
    return x if self.activation is None else self.activation(x)


class Dropout(nn.Module):
  """Flax's dropout, bit for bit, whose rate may be an array []; Python's 0 costs nothing."""

  rate: Any

  @nn.compact
  def __call__(self, x: Float[Array, "*any"], train: bool) -> Float[Array, "*any"]:
    if not train or (isinstance(self.rate, float) and self.rate == 0):
      return x
    kept = 1.0 - self.rate
    mask = jax.random.bernoulli(self.make_rng("dropout"), kept, x.shape)
    return jnp.where(mask, x / kept, 0)


def max_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
  """3x3, stride 2, padding 1: torchvision's pool after the 7x7 stem."""
  return nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
