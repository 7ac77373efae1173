"""The stages that learn by gradient: fields of the group `stages`."""

import dataclasses
import math
from typing import Annotated, Literal

from meanet_jax.config.ranges import (
  Fraction,
  NonNegative,
  NonNegativeFloat,
  Positive,
  PositiveFloat,
  Range,
)

# Every stage there can be; `Config.stage_names` has those that an experiment trains, in order.
STAGE_NAMES = ("main", "edge", "finetune", "cloud")


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
  """Training-time augmentation, drawn per image on the device."""

  pad_crop: NonNegative = 0
  """Pad so many pixels on each side, then crop back at a random place."""
  random_resized_crop: bool = False
  """Cut out 8% to 100% of the area at an aspect ratio of 3/4 to 4/3 and resize it to the image's
  size; the recipe of Szegedy et al. 2015 with torchvision's constants. Streamed images are cut on
  the host, before they are resized."""
  flip: bool = False
  """Mirror left-right with probability one half."""
  colour_jitter: Fraction = 0.0
  """Scale brightness, contrast and saturation by factors uniform in 1 - x to 1 + x, in this order;
  torchvision's ColorJitter without hue."""
  cutout: NonNegative = 0
  """Blank a square of so many pixels a side with the data set's mean, its centre anywhere in the
  image; DeVries and Taylor 2017."""


@dataclasses.dataclass(frozen=True)
class DistillationConfig:
  """What a stage learns from the run's finished cloud, beside the labels."""

  weight: Fraction = 0.0
  """The loss of an image is (1 - weight) CE + weight T^2 KL(teacher || student) in nats, both
  distributions softened by T; Hinton et al. 2015 (arXiv 1503.02531). The teacher sees the student's
  augmented images; an extension of hard classes learns from its logits of these classes alone.
  Above 0 it requires `stages.cloud_first`; 0: no teacher."""
  temperature: PositiveFloat = 4.0
  """The T that divides the logits of both."""


@dataclasses.dataclass(frozen=True)
class StageConfig:
  """How one stage trains."""

  epochs: NonNegative = 1
  """Passes over the stage's images; 0 keeps pretrained weights as they are."""
  batch_size: Positive = 128
  """Of one step, over all devices; the last incomplete batch of an epoch is left out."""
  accumulate: Positive = 1
  """Micro-batches that a step splits its batch into, one after another, to need less memory; the
  gradient is their mean. Batch norm sees one micro-batch at a time."""
  optimizer: Literal["sgd", "adamw", "lamb"] = "sgd"
  """Those of `meanet_jax/training/optimizers.py`."""
  learning_rate: PositiveFloat = 0.1
  """The peak of the schedule."""
  momentum: Annotated[float, Range(0, 1)] = 0.9
  """Of SGD; in `adamw` and `lamb` the decay of the first moment."""
  weight_decay: NonNegativeFloat = 1e-4
  """On every parameter, as the optimiser applies it."""
  schedule: Literal["constant", "step", "cosine", "one_cycle"] = "step"
  """`step` multiplies by `step_factor` at each epoch of `step_epochs`; `cosine` falls to 0;
  `one_cycle` rises from 1/25 of the peak and falls to 1/10,000 of where it began."""
  step_epochs: Annotated[tuple[int, ...], Range(1)] = ()
  """Epochs at which the schedule `step` multiplies the learning rate; strictly increasing."""
  step_factor: PositiveFloat = 0.1
  """The factor of the schedule `step`."""
  warmup_epochs: NonNegative = 0
  """Linear rise from 0 to the peak before the schedule. `one_cycle` has no other rise than its own,
  which then takes so many epochs instead of three tenths of all steps."""
  freeze: NonNegative = 0
  """Of stages main and cloud: so many first stages of the trunk, and its stem, stay as they are,
  with their batch norms in evaluation mode; 0 freezes nothing."""
  learning_rate_factors: tuple[str, ...] = ()
  """Factors of the learning rate as NAME=FACTOR, where NAME is a part of a block that the stage
  trains: `main.trunk=0.1`, `main.trunk.stage1_block1=0`, `extension.head=2`. Of several that fit
  the longest counts; 0 stops a part, and its weight decay with it."""
  head_epochs: NonNegative = 0
  """Of stages main and cloud: first epochs in which the head alone learns, within `epochs`. Batch
  statistics of the trunk go on; `freeze` stops those."""
  label_smoothing: Annotated[float, Range(0, 0.99)] = 0.0
  """Probability mass moved from the label to all classes evenly."""
  loss_weights: Annotated[tuple[float, ...], Range(0)] = ()
  """Factors of the losses of exits that the stage's loss adds up, one of them above 0: of main and
  extension in a joint stage `edge` and in `finetune`, of its one exit in any other. The logged loss
  has them in it. Empty: 1 each."""
  weigh_exits_by_share: bool = False
  """Instead of `loss_weights`, where a stage trains two exits: the shares of validation images that
  end at them when the hard classes are selected (the predicted class is hard: at the extension),
  times two, so that they add up to what the default's do; CalexNet (arXiv 2509.08318) weighs
  exits by the images that are left for them."""
  class_weights: Literal["none", "balanced"] | Annotated[tuple[float, ...], Range(0)] = "none"
  """Factors of the losses of images by class: `none`; `balanced`, n / (C n_c) for n images, n_c of
  them of class c (King and Zeng 2001, scikit-learn's `balanced`; classes without images weigh
  nothing); or a number for each class of the data set. They are scaled so that their mean over the
  training images that an exit learns from is 1."""
  easy_weight: Fraction = 1.0
  """With `model.extension_classes` = `all`: the factor of the extension's losses of images that are
  of an easy class and that main predicts as one, against 1 for all others, which the extension
  would run on; scaled so that the mean over validation images is 1."""
  ema_decay: Annotated[float, Range(0, 0.999999)] = 0.0
  """Of the moving average of parameters and batch statistics, which is then what is validated,
  handed on and evaluated; 0 keeps none. Step t decays by min(ema_decay, (1 + t) / (10 + t)), so
  that a short run does not stay where it began."""
  sampling: Literal["uniform", "balanced"] = "uniform"
  """`uniform` shows every image once an epoch; `balanced` as many images an epoch, of every class
  as many as of the others: images of small classes several times, of large ones a part. Both
  leave out the last incomplete batch."""
  distillation: DistillationConfig = DistillationConfig()
  augment: AugmentConfig = AugmentConfig()


@dataclasses.dataclass(frozen=True)
class StagesConfig:
  """The stages that learn by gradient."""

  main: StageConfig = StageConfig()
  edge: StageConfig = StageConfig()
  finetune: StageConfig = StageConfig(learning_rate=0.01)
  """Read with `training` = `mixed` alone."""
  cloud: StageConfig = StageConfig()
  training: Literal["blockwise", "joint", "mixed"] = "blockwise"
  """How the edge's blocks are trained. `blockwise`, MEANet's: main first, then the others beside a
  main block that stays. `joint`: main first, which learns on in stage `edge`, from all images,
  together with adaptive and extension block, by the sum of both exits' losses (BranchyNet, arXiv
  1709.01686; a main that has learned before is the mixed strategy of arXiv 2407.14320). `mixed`:
  blockwise, and then a stage `finetune` that trains all three together from there, at its own rate.
  The hard classes stay those that were selected after stage main."""
  cloud_first: bool = False
  """Train the cloud before main, as distillation from it requires; otherwise it comes last."""


def learning_rate_factors(stage: StageConfig) -> dict[str, float]:
  """The stage's factors by name.

  Raises:
    ValueError: a text that is not NAME=FACTOR, a name that is there twice, or a factor that is
      negative or not finite.
  """
  factors: dict[str, float] = {}
  for text in stage.learning_rate_factors:
    name, _, value = text.partition("=")
    factor = float(value)
    if not name or name in factors or not 0 <= factor < math.inf:
      raise ValueError(text)
    factors[name] = factor
  return factors
