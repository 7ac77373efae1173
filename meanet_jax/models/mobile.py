"""The trunk of MobileNetV3 and EfficientNet: inverted residuals with squeeze and excitation."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from meanet_jax.models.layers import ConvNorm, Dtype, relu6
from meanet_jax.models.mobile_structures import MobileStage, MobileStructure

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
  "relu": nn.relu,
  "relu6": relu6,
  "hard_swish": nn.hard_swish,
  "silu": nn.silu,
}


class Squeeze(nn.Module):
  """Squeeze and excitation (Hu et al. 2018): each channel scaled by what two 1x1 layers make of
  the means of all.

  width: between the two. hard: ReLU and hard sigmoid, as in MobileNetV3; otherwise SiLU and
  sigmoid.
  """

  width: int
  hard: bool
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    inner, gate = (nn.relu, nn.hard_sigmoid) if self.hard else (nn.silu, nn.sigmoid)
    y = jnp.mean(x, axis=(1, 2), keepdims=True)
    y = inner(nn.Conv(self.width, (1, 1), dtype=self.dtype, name="fc1")(y))
    y = gate(nn.Conv(x.shape[-1], (1, 1), dtype=self.dtype, name="fc2")(y))
    return x * y


class MobileBlock(nn.Module):
  """1x1 expansion (unless the channels are already as many), depthwise, squeeze, 1x1 projection."""

  structure: MobileStructure
  stage: MobileStage
  index: int
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 d"]:
    structure, stage = self.structure, self.stage
    norm = {
      "dtype": self.dtype,
      "axis_name": self.axis_name,
      "epsilon": structure.epsilon,
      "momentum": structure.momentum,
    }
    activation, inner = ACTIVATIONS[stage.activation], stage.inner[self.index]
    y = x
    if inner != x.shape[-1]:
      y = ConvNorm(inner, kernel=1, activation=activation, name="expand", **norm)(y, train)
    depthwise = ConvNorm(
      inner,
      stage.kernel,
      stage.stride if self.index == 0 else 1,
      groups=inner,
      activation=activation,
      name="depthwise",
      **norm,
    )
    y = depthwise(y, train)
    if stage.squeeze:
      width = structure.squeezed(inner, x.shape[-1])
      y = Squeeze(width, structure.family == "mobilenet_v3", self.dtype, name="squeeze")(y)
    y = ConvNorm(stage.width, kernel=1, activation=None, name="project", **norm)(y, train)
    return x + y if x.shape == y.shape else y


class MobileTrunk(nn.Module):
  """Stem and stages of a `MobileStructure`: image in, features out.

  frozen: the first stages, with the stem, that stay as they are in training; 0 for none.
  """

  structure: MobileStructure
  dtype: Dtype = jnp.float32
  axis_name: str | None = None
  frozen: int = 0

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 d"]:
    structure = self.structure
    stem = ConvNorm(
      structure.stem_width,
      stride=2,
      activation=ACTIVATIONS[structure.activation],
      dtype=self.dtype,
      axis_name=self.axis_name,
      epsilon=structure.epsilon,
      momentum=structure.momentum,
      name="stem",
    )
    x = stem(x, train and not self.frozen)
    for number, stage in enumerate(structure.stages, 1):
      for index in range(len(stage.inner)):
        block = MobileBlock(
          structure,
          stage,
          index,
          self.dtype,
          self.axis_name,
          name=f"stage{number}_block{index + 1}",
        )
        x = block(x, train and number > self.frozen)
      if number == self.frozen:
        x = jax.lax.stop_gradient(x)
    return x
