"""The networks: fields of the group `model`."""

import dataclasses
from typing import Annotated, Literal

from meanet_jax.config.ranges import NonNegative, PositiveFloat, Range


@dataclasses.dataclass(frozen=True)
class StructureConfig:
  """A stack of convolutional stages; every block of a MEANet is one of these and perhaps a head."""

  block: Literal["basic", "bottleneck", "inverted"] = "basic"
  """`basic` and `bottleneck` are ResNet's, `inverted` is MobileNetV2's."""
  stem: Literal["none", "conv3", "conv3_stride2", "conv7_pool"] = "none"
  """What comes before the first stage: nothing, a 3x3 convolution of stride 1 or 2, or a 7x7
  convolution of stride 2 and a 3x3 max pool of stride 2; each with batch norm and activation."""
  stem_width: NonNegative = 0
  """The stem's channels (ignored without a stem)."""
  depths: Annotated[tuple[int, ...], Range(1)] = ()
  """Number of blocks of each stage."""
  widths: Annotated[tuple[int, ...], Range(1)] = ()
  """Channels of each stage. A bottleneck stage has 4 x width output channels."""
  strides: Annotated[tuple[int, ...], Range(1)] = ()
  """Stride of the first block of each stage."""
  expansions: Annotated[tuple[int, ...], Range(1)] = ()
  """Per stage, for inverted blocks only: the factor from input to inner channels."""
  final_width: NonNegative = 0
  """Channels of a 1x1 convolution between the features and the head's pool; 0: none."""


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
  """A complete classifier: the main block or the cloud model."""

  name: str = "custom"
  """A network of `meanet_jax/models/zoo.py`, or `custom` for the one in `structure`."""
  structure: StructureConfig = StructureConfig()
  module: str = ""
  """A Linen module of your own, `package.module:Class`, instead of a name or a structure; imported
  from the current directory or PYTHONPATH (docs/own_networks.md)."""
  arguments: str = ""
  """Fields of that module, as a JSON object: `{"width": 16}`."""
  width_multiplier: PositiveFloat = 1.0
  """Scales MobileNetV2's channels; 1 for every other network."""
  split_after: NonNegative = 0
  """Keep only so many first stages (split network "A" of the paper); 0 keeps all."""
  head_pool: NonNegative = 0
  """0 pools globally; k pools k x k with stride k and flattens what is left."""
  dropout: Annotated[float, Range(0, 0.99)] = 0.0
  """Share of the pooled features dropped in training."""
  pretrained: str = ""
  """What to start from: the path of a torchvision-style state dict, or RUN[:BLOCK], the directory
  of another run and a block of it (`main`, `cloud`, `adaptive`, `extension`; the same one where
  none is named); empty for fresh weights."""
  reset_head: bool = False
  """With pretrained weights, start the last dense layer afresh, whatever the file's is called, if
  it has one; of a module its part `head`."""


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """The four networks of a MEANet and how they are joined.

  `main.structure` and `cloud.structure` are read when their network's `name` is `custom`, and must
  be left empty otherwise.
  """

  main: NetworkConfig = NetworkConfig()
  adaptive: StructureConfig = StructureConfig()
  extension: StructureConfig = StructureConfig()
  cloud: NetworkConfig = NetworkConfig()
  join: Literal["concat", "sum", "none"] = "concat"
  """How main features and adaptive features are joined: on channels (`concat`), added (`sum`), or
  not at all (`none`: there is no adaptive block and the extension sees main features alone)."""
  join_dropout: Annotated[float, Range(0, 0.99)] = 0.0
  """Share of the images, drawn anew in every step, of which the extension learns without main's
  features (zeros in their place). Main's features are ready from the first step, and an adaptive
  block beside them may never learn: its weights decay instead. Dropping a whole input is from
  Neverova et al. 2016, arXiv 1501.00102; why one is preferred, in Wu et al. 2022, arXiv
  2202.05306."""
  extension_classes: Literal["hard", "all"] = "hard"
  """Which classes the extension has: the `hard` ones, and learns from their images alone, or `all`,
  from all images (`stages.edge.easy_weight`). Hard classes decide where it runs either way."""
  compute_dtype: Literal["float32", "bfloat16"] = "float32"
  """Of activations and convolutions; parameters, statistics and logits are float32."""
  batch_norm: Literal["synchronised", "per_device"] = "synchronised"
  """In training, over the batch of all devices (`synchronised`) or of each alone (`per_device`;
  running statistics are then the mean of the devices')."""
