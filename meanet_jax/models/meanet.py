"""MEANet: trunk, head, and the four networks behind one static exit mask."""

import enum
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from meanet_jax.config.networks import StructureConfig
from meanet_jax.models.layers import ConvNorm, Dropout, Dtype, max_pool, relu6
from meanet_jax.models.mobile import ACTIVATIONS, MobileTrunk
from meanet_jax.models.mobile_structures import MobileStructure
from meanet_jax.models.mobilenet import InvertedResidual
from meanet_jax.models.own_network import OwnNetwork
from meanet_jax.models.resnet import BasicBlock, Bottleneck

BLOCKS = ("main", "adaptive", "extension", "cloud")


class Exits(enum.Flag):
  """The static exit mask: which logits a call returns. The rest is neither traced nor computed."""

  MAIN = enum.auto()
  EXTENSION = enum.auto()
  CLOUD = enum.auto()
  ALL = MAIN | EXTENSION | CLOUD


class Outputs(NamedTuple):
  """Logits per exit, float32; None where the mask leaves an exit out.

  main, cloud: [b, C]. extension: [b, K], over hard classes in increasing class number, or [b, C].
  """

  main: Float[Array, "b c"] | None
  extension: Float[Array, "b k"] | None
  cloud: Float[Array, "b c"] | None


class Trunk(nn.Module):
  """Stem and stages: image or features in, features out.

  frozen: the first stages, with the stem, that stay as they are in training; 0 for none.
  """

  structure: StructureConfig
  dtype: Dtype = jnp.float32
  axis_name: str | None = None
  frozen: int = 0

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 d"]:
    structure = self.structure
    numerics = {"dtype": self.dtype, "axis_name": self.axis_name}
    activation = relu6 if structure.block == "inverted" else nn.relu
    if structure.stem != "none":
      kernel, stride = {"conv3": (3, 1), "conv3_stride2": (3, 2), "conv7_pool": (7, 2)}[
        structure.stem
      ]
      stem = ConvNorm(
        structure.stem_width, kernel, stride, activation=activation, name="stem", **numerics
      )
      x = stem(x, train and not self.frozen)
      if structure.stem == "conv7_pool":
        x = max_pool(x)
    for stage, (depth, width, stride) in enumerate(
      zip(structure.depths, structure.widths, structure.strides, strict=True)
    ):
      learns = train and stage >= self.frozen
      for index in range(depth):
        options = {
          "width": width,
          "stride": stride if index == 0 else 1,
          "name": f"stage{stage + 1}_block{index + 1}",
          **numerics,
        }
        if structure.block == "inverted":
          x = InvertedResidual(expansion=structure.expansions[stage], **options)(x, learns)
        else:
          block = BasicBlock if structure.block == "basic" else Bottleneck
          x = block(**options)(x, learns)
      if stage + 1 == self.frozen:
        x = jax.lax.stop_gradient(x)
    return x


class Head(nn.Module):
  """Features in, logits out: 1x1 convolution if there is one, pool, dense layers in float32.

  pool: as `NetworkConfig.head_pool`. dropout: in front of the last layer; a number, or an array []
  that a compiled step receives.
  """

  structure: StructureConfig | MobileStructure
  num_classes: int
  pool: int = 0
  dropout: Any = 0.0
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b c2"]:
    structure, own = self.structure, {}
    activation = relu6
    if isinstance(structure, MobileStructure):
      activation = ACTIVATIONS[structure.activation]
      own = {"epsilon": structure.epsilon, "momentum": structure.momentum}
    if structure.final_width:
      final = ConvNorm(
        structure.final_width,
        kernel=1,
        activation=activation,
        dtype=self.dtype,
        axis_name=self.axis_name,
        name="final",
        **own,
      )
      x = final(x, train)
    x = x.astype(jnp.float32)
    if self.pool:
      x = nn.avg_pool(x, (self.pool, self.pool), strides=(self.pool, self.pool))
      x = x.reshape(x.shape[0], -1)
    else:
      x = jnp.mean(x, axis=(1, 2))
    if isinstance(structure, MobileStructure) and structure.hidden_width:
      x = activation(nn.Dense(structure.hidden_width, name="hidden")(x))
    x = Dropout(self.dropout)(x, train)
    return nn.Dense(self.num_classes, name="dense")(x)


class Network(nn.Module):
  """A trunk and its head.

  frozen: the first stages, with the stem, that stay as they are in training; 0 for none.
  """

  structure: StructureConfig | MobileStructure
  num_classes: int
  head_pool: int = 0
  dropout: Any = 0.0
  dtype: Dtype = jnp.float32
  axis_name: str | None = None
  frozen: int = 0

  def setup(self):
    numerics = (self.dtype, self.axis_name, self.frozen)
    if isinstance(self.structure, MobileStructure):
      self.trunk = MobileTrunk(self.structure, *numerics)
    else:
      self.trunk = Trunk(self.structure, *numerics)
    self.head = Head(
      self.structure,
      self.num_classes,
      self.head_pool,
      self.dropout,
      self.dtype,
      self.axis_name,
    )

  def features(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 d"]:
    """The trunk's output."""
    return self.trunk(x, train)

  def classify(self, features: Float[Array, "b h w c"], train: bool) -> Float[Array, "b c2"]:
    """Logits of the trunk's output."""
    return self.head(features, train)

  def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b c2"]:
    return self.head(self.trunk(x, train), train)


class MEANet(nn.Module):
  """Main, adaptive and extension block, and the cloud model.

  `adaptive` is None exactly when `join` is `none`. join_dropout: as in `ModelConfig`.
  """

  main: Network | OwnNetwork
  extension: Network
  cloud: Network | OwnNetwork
  adaptive: Trunk | None = None
  join: str = "concat"
  join_dropout: float = 0.0

  def __call__(
    self,
    images: Float[Array, "b h w c"],
    exits: Exits = Exits.ALL,
    train: tuple[str, ...] = (),
  ) -> Outputs:
    """Logits of the exits in the mask.

    Args:
      images: normalised, NHWC.
      exits: static; what it leaves out is not traced.
      train: the blocks in training mode (static). Features of a main block that is not among them
        are detached, and its batch norm uses running statistics.
    """
    main = extension = cloud = None
    if Exits.MAIN in exits or Exits.EXTENSION in exits:
      features = self.main_features(images, "main" in train)
      if Exits.MAIN in exits:
        main = self.main.classify(features, "main" in train)
      if Exits.EXTENSION in exits:
        if "main" not in train:
          features = jax.lax.stop_gradient(features)
        extension = self.extend(images, features, "extension" in train)
    if Exits.CLOUD in exits:
      cloud = self.cloud(images, "cloud" in train)
    return Outputs(main, extension, cloud)

  @property
  def synchronised(self) -> bool:
    """Whether every batch norm averages over a mapped axis in training."""
    return all(x.axis_name is not None for x in (self.main, self.extension, self.cloud))

  def main_features(
    self, images: Float[Array, "b h w c"], train: bool = False
  ) -> Float[Array, "b h2 w2 d"]:
    """The main block's features, which its head and the extension share."""
    return self.main.features(images, train)

  def main_exit(
    self, images: Float[Array, "b h w c"]
  ) -> tuple[Float[Array, "b k"], Float[Array, "b h2 w2 d"]]:
    """The main block's logits, and the features that an extension run later needs."""
    features = self.main_features(images)
    return self.main.classify(features, False), features

  def extend(
    self,
    images: Float[Array, "b h w c"],
    features: Float[Array, "b h2 w2 d"],
    train: bool = False,
  ) -> Float[Array, "b k"]:
    """The extension's logits, from the raw images and main's features."""
    if self.adaptive is not None:
      if train and self.join_dropout:
        kept = 1 - self.join_dropout
        rows = jax.random.bernoulli(self.make_rng("dropout"), kept, (len(images), 1, 1, 1))
        features = jnp.where(rows, features, 0)
      features = self.joined(features, self.adaptive(images, train))
    return self.extension(features, train)

  def joined(
    self, features: Float[Array, "b h w c"], adapted: Float[Array, "b h w d"]
  ) -> Float[Array, "b h w e"]:
    """Main features joined with adaptive features, on channels or by addition."""
    if self.join == "sum":
      return features + adapted
    return jnp.concatenate([features, adapted], axis=-1)

  # Single blocks in evaluation mode, for export and for counting what each costs.

  def classify_on_main(self, images: Float[Array, "b h w c"]) -> Float[Array, "b c2"]:
    """The main block's logits."""
    return self.main(images, False)

  def adapt(self, images: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
    """The adaptive block's features."""
    assert self.adaptive is not None
    return self.adaptive(images, False)

  def classify_joined(self, features: Float[Array, "b h w c"]) -> Float[Array, "b k"]:
    """The extension block's logits, from joined features."""
    return self.extension(features, False)

  def classify_on_cloud(self, images: Float[Array, "b h w c"]) -> Float[Array, "b c2"]:
    """The cloud model's logits."""
    return self.cloud(images, False)
