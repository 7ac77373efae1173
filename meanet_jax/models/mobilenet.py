"""MobileNetV2's block (Sandler et al. 2018) and its rounding of channels."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from meanet_jax.models.layers import ConvNorm, Dtype, relu6


class InvertedResidual(nn.Module):
  """1x1 expansion (unless the factor is 1), 3x3 depthwise, 1x1 projection without activation."""

  width: int
  stride: int = 1
  expansion: int = 6
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 d"]:
    numerics = {"dtype": self.dtype, "axis_name": self.axis_name}
    inner = self.expansion * x.shape[-1]
    y = x
    if self.expansion != 1:
      y = ConvNorm(inner, kernel=1, activation=relu6, name="expand", **numerics)(y, train)
    y = ConvNorm(
      inner, stride=self.stride, groups=inner, activation=relu6, name="depthwise", **numerics
    )(y, train)
    y = ConvNorm(self.width, kernel=1, activation=None, name="project", **numerics)(y, train)
    return x + y if x.shape == y.shape else y


def scaled_width(width: int, multiplier: float) -> int:
  """Channels times a multiplier, to the nearest multiple of 8, never below 90% of the product.

  The rule of the reference implementation, which torchvision shares (`_make_divisible`).
  """
  product = width * multiplier
  rounded = max(8, int(product + 4) // 8 * 8)
  return rounded + 8 if rounded < 0.9 * product else rounded
