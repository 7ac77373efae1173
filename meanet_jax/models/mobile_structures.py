"""MobileNetV3 (Howard et al. 2019) and EfficientNet (Tan and Le 2019): their published structures.

Channels, kernels and activations differ from block to block, so no field of the configuration
describes them; a name does. Padding, squeezes and batch norms are torchvision's.
"""

import dataclasses
from typing import Literal

from meanet_jax.models.mobilenet import scaled_width

Activation = Literal["relu", "relu6", "hard_swish", "silu"]


@dataclasses.dataclass(frozen=True)
class MobileStage:
  """Inverted residuals with one output width; the first of them has the stride.

  inner: channels of the depthwise convolution, of each block. squeeze: whether squeeze and
  excitation follows it.
  """

  kernel: int
  width: int
  stride: int
  inner: tuple[int, ...]
  squeeze: bool
  activation: Activation


@dataclasses.dataclass(frozen=True)
class MobileStructure:
  """A 3x3 stem of stride 2, stages, and a head with up to two more layers.

  activation: of stem and head. final_width: of the 1x1 convolution in front of the head's pool.
  hidden_width: of a dense layer after it; 0 for none. family: which decides the squeeze and the
  names of weights. epsilon, momentum: of every batch norm, in Flax's sense.
  """

  family: Literal["mobilenet_v3", "efficientnet"]
  stem_width: int
  stages: tuple[MobileStage, ...]
  activation: Activation
  final_width: int
  hidden_width: int = 0
  epsilon: float = 1e-5
  momentum: float = 0.9
  stem: Literal["conv3_stride2"] = "conv3_stride2"

  @property
  def depths(self) -> tuple[int, ...]:
    """Blocks of each stage."""
    return tuple(len(stage.inner) for stage in self.stages)

  @property
  def widths(self) -> tuple[int, ...]:
    """Channels of each stage."""
    return tuple(stage.width for stage in self.stages)

  @property
  def strides(self) -> tuple[int, ...]:
    """Stride of each stage's first block."""
    return tuple(stage.stride for stage in self.stages)

  def squeezed(self, inner: int, before: int) -> int:
    """Channels between the two layers of a squeeze.

    Args:
      inner: of the block's depthwise convolution.
      before: that enter the block.
    """
    if self.family == "mobilenet_v3":
      return scaled_width(inner // 4, 1.0)
    return max(1, before // 4)


def _v3(stages: tuple[MobileStage, ...], hidden_width: int) -> MobileStructure:
  return MobileStructure(
    family="mobilenet_v3",
    stem_width=16,
    stages=stages,
    activation="hard_swish",
    final_width=6 * stages[-1].width,
    hidden_width=hidden_width,
    epsilon=1e-3,
    momentum=0.99,
  )


def _efficientnet(squeeze: bool, activation: Activation) -> MobileStructure:
  stages, before = [], 32
  for expansion, kernel, stride, width, depth in (  # Tan and Le 2019, table 1
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
  ):
    inner = (expansion * before, *(expansion * width,) * (depth - 1))
    stages.append(MobileStage(kernel, width, stride, inner, squeeze, activation))
    before = width
  return MobileStructure("efficientnet", 32, tuple(stages), activation, 1280)


MOBILE_STRUCTURES = {
  "mobilenet_v3_small": _v3(  # Howard et al. 2019, table 2
    (
      MobileStage(3, 16, 2, (16,), True, "relu"),
      MobileStage(3, 24, 2, (72, 88), False, "relu"),
      MobileStage(5, 40, 2, (96, 240, 240), True, "hard_swish"),
      MobileStage(5, 48, 1, (120, 144), True, "hard_swish"),
      MobileStage(5, 96, 2, (288, 576, 576), True, "hard_swish"),
    ),
    hidden_width=1024,
  ),
  "mobilenet_v3_large": _v3(  # table 1
    (
      MobileStage(3, 16, 1, (16,), False, "relu"),
      MobileStage(3, 24, 2, (64, 72), False, "relu"),
      MobileStage(5, 40, 2, (72, 120, 120), True, "relu"),
      MobileStage(3, 80, 2, (240, 200, 184, 184), False, "hard_swish"),
      MobileStage(3, 112, 1, (480, 672), True, "hard_swish"),
      MobileStage(5, 160, 2, (672, 960, 960), True, "hard_swish"),
    ),
    hidden_width=1280,
  ),
  "efficientnet_b0": _efficientnet(True, "silu"),
  # Without squeezes and with ReLU6, for integer arithmetic; no torchvision weights exist.
  "efficientnet_lite0": _efficientnet(False, "relu6"),
}
