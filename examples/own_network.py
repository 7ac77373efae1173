"""A network of your own as main block: a small ConvNeXt (Liu et al. 2022), as a Linen module.

Commands  meanet train --config examples/own_network.py --workdir runs/own_network
          meanet eval --workdir runs/own_network
Hardware  2 CPU cores: about a minute.

The class keeps the contract of docs/own_networks.md: two methods, and fields that the configuration
sets where they exist (`num_classes`, `dtype`). Below it is an experiment on handwritten digits.
"""

import json
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from ml_collections import ConfigDict

from meanet_jax.config.parsing import default_config


class Block(nn.Module):
  """Depthwise 5x5 convolution, layer norm, and a perceptron of two layers over the channels."""

  width: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x):
    y = nn.Conv(self.width, (5, 5), feature_group_count=self.width, dtype=self.dtype)(x)
    y = nn.LayerNorm(dtype=self.dtype)(y)
    y = nn.Dense(4 * self.width, dtype=self.dtype)(y)
    y = nn.gelu(y, approximate=True)  # TF Lite has the tanh of this form, but no erf
    return x + nn.Dense(self.width, dtype=self.dtype)(y)


class ConvNeXt(nn.Module):
  """A 3x3 stem and stages of `depth` blocks; each halves the image.

  `features` [b, h, w, c] are what the extension block sees; `head` is the part that another number
  of classes starts afresh.
  """

  num_classes: int
  widths: tuple[int, ...] = (16, 32)
  depth: int = 1
  dropout: float = 0.1
  dtype: Any = jnp.float32

  def setup(self):
    self.stem = nn.Conv(self.widths[0], (3, 3), dtype=self.dtype)
    self.downsample = [
      nn.Conv(width, (2, 2), strides=2, padding="VALID", dtype=self.dtype) for width in self.widths
    ]
    self.blocks = [[Block(width, self.dtype) for _ in range(self.depth)] for width in self.widths]
    self.dropped = nn.Dropout(self.dropout)
    self.head = nn.Dense(self.num_classes)

  def features(self, images, train):
    """Features [b, h / 2^stages, w / 2^stages, widths[-1]] of normalised images [b, h, w, c]."""
    x = self.stem(images)
    for downsample, blocks in zip(self.downsample, self.blocks, strict=True):
      x = downsample(x)
      for block in blocks:
        x = block(x)
    return x

  def classify(self, features, train):
    """Logits [b, num_classes] of features."""
    x = jnp.mean(features.astype(jnp.float32), axis=(1, 2))
    return self.head(self.dropped(x, deterministic=not train))


def get_config() -> ConfigDict:
  """Digits: this network as main block, and blocks that fit its features of 2x2 pixels."""
  config = default_config()
  config.dataset.test_fraction = 0.35
  config.dataset.validation_fraction = 0.3
  config.evaluation.calibration_fraction = 0.4

  config.model.main.module = "examples.own_network:ConvNeXt"
  config.model.main.arguments = json.dumps({"widths": [8, 16], "depth": 1})
  adaptive = config.model.adaptive
  adaptive.stem, adaptive.stem_width = "conv3", 16
  adaptive.depths, adaptive.widths, adaptive.strides = (1, 1), (16, 32), (2, 2)
  extension = config.model.extension
  extension.depths, extension.widths, extension.strides = (1,), (48,), (1,)
  cloud = config.model.cloud.structure
  cloud.stem, cloud.stem_width = "conv3", 32
  cloud.depths, cloud.widths, cloud.strides = (2, 2), (32, 64), (1, 2)

  stages = config.stages
  stages.main.optimizer, stages.main.learning_rate = "adamw", 3e-3
  stages.edge.learning_rate, stages.cloud.learning_rate = 0.05, 0.05
  stages.main.epochs, stages.edge.epochs, stages.cloud.epochs = 30, 30, 20
  for stage in (stages.main, stages.edge, stages.cloud):
    stage.batch_size, stage.schedule, stage.warmup_epochs = 64, "cosine", 1
    stage.augment.pad_crop = 1
  return config
