"""The configuration: frozen dataclasses, one per subject; below each field its meaning.

Configuration files hand out a `ml_collections.ConfigDict`; `parsing.py` turns it into these classes
and checks every name, type and range. `checks.py` checks what no single field can know. The strings
below the fields are what `meanet config NAME` prints (`documentation.py` reads them).
"""

import dataclasses
from typing import Annotated, Literal

from meanet_jax.config.baselines import BaselinesConfig
from meanet_jax.config.constraints import Constraints
from meanet_jax.config.networks import ModelConfig
from meanet_jax.config.ranges import (
  Fraction,
  NonNegative,
  NonNegativeFloat,
  Positive,
  PositiveFloat,
  Range,
)
from meanet_jax.config.stages import StageConfig, StagesConfig

Criterion = Literal["entropy", "max_prob", "margin", "learned"]


@dataclasses.dataclass(frozen=True)
class DatasetConfig:
  """Which images, how they are split and normalised."""

  name: str = "digits"
  """`digits`, `folder` for own images, or NAME[/CONFIG][:VERSION] of a TFDS set; see
  `meanet_jax/data/sources.py`."""
  path: str = ""
  """Of own images: a folder of class folders, a CSV file or an .npz file (docs/own_images.md)."""
  image_shape: Annotated[tuple[int, ...], Range(0)] = (8, 8, 1)
  """Height, width, channels: 1 is grey, 3 RGB, 2 and 4 are these with an alpha channel. Sets whose
  images differ in size are cropped and resized to it; see `meanet_jax/images`. Of own images, what
  is 0 is found from the data before training."""
  num_classes: NonNegative = 10
  """C; the loaded labels must agree. Of own images, 0 is found from the data before training."""
  mean: tuple[float, ...] = (0.5,)
  """Subtracted from images scaled to [0, 1]; per channel, or one for all."""
  std: Annotated[tuple[float, ...], Range(1e-6)] = (0.5,)
  """What the difference is divided by; per channel, or one for all."""
  validation_fraction: Annotated[float, Range(1e-6, 0.9)] = 0.1
  """Share of the training images kept apart for hard classes and thresholds, drawn with the shares
  of the classes kept."""
  train_split: str = "train"
  """Split of the TFDS set, or a slice of one (`train[:90%]`), that is trained on."""
  test_split: str = "test"
  """Split of the TFDS set, or a slice of one, that tests; without images of `train_split`."""
  test_fraction: Fraction = 0.0
  """Share kept apart for testing, for sources without a test split of their own. Own images that
  have a validation or test split keep it, whatever the fractions."""
  split_seed: NonNegative = 0
  """Fixes the splits; independent of `seed`, so that seeds share a test split."""
  in_memory_mb: NonNegative = 1000
  """10^6 bytes of pixels up to which a set is decoded once and kept on the devices; larger ones are
  streamed."""
  undecodable: Literal["error", "skip"] = "error"
  """What a damaged image does: `error` ends with its name, `skip` leaves it out and counts it."""

  @property
  def incomplete(self) -> bool:
    """Whether the number of classes or the shape of the images is left to the data."""
    return not (self.num_classes and all(self.image_shape))


@dataclasses.dataclass(frozen=True)
class HardClassesConfig:
  """How many classes are hard, and which."""

  count: int | None = None
  """K, the number of hard classes, from 1 to C - 1; unset means C // 2."""
  selection: Literal["least_precise", "random"] = "least_precise"
  """Those of least precision (of equals those of fewer correct predictions, then of lower recall),
  or as many `random` ones (an ablation), drawn from the seed. Classes without training images, or
  without validation images that select, are never hard."""


@dataclasses.dataclass(frozen=True)
class RoutingConfig:
  """The inference rules of `meanet_jax/routing/policies.py`."""

  policy: Literal[
    "auto", "configured", "paper", "paper_imagenet", "abstract", "late", "gated", "uncertain"
  ] = "auto"
  """Whose rules `meanet` takes: those of the most accurate policy of
  `meanet_jax/selection/family.py` under the constraints (`auto`), selected on validation images
  that carry no guarantee, those of the five fields `hard_rule` to `criterion` (`configured`), or
  those of a preset of `meanet_jax/routing/policies.py` by name. `auto` sets `calibrate` as well."""
  hard_rule: Literal["argmax", "probability", "argmax_uncertain", "uncertain"] = "argmax"
  """When the extension runs: where the predicted class is hard (`argmax`), where the main block's
  probability mass on hard classes is above `hard_threshold` (`probability`), where main is
  uncertain (`uncertain`), or where both the first and the last hold (`argmax_uncertain`)."""
  edge_rule: Literal["extension", "most_confident", "fused"] = "extension"
  """What the edge says where the extension ran: its answer, the more confident exit's, or that of
  one distribution made of both (`fused`)."""
  offload: Literal["early", "late"] = "early"
  """When an image is sent to the cloud: for the main exit's uncertainty, before the extension runs
  (`early`), or for that of the edge's answer (`late`)."""
  cloud_rule: Literal["replace", "fused"] = "replace"
  """Whether the cloud's answer replaces the edge's or is combined with it."""
  criterion: Criterion = "entropy"
  """Uncertainty: entropy, 1 - the largest probability, 1 - the margin of the two largest, or the
  expected gain of asking the cloud (`learned`, with `offload` `late`), whose regression is fitted
  on validation images and needs 2,000 of them that carry no guarantee."""
  hard_threshold: Fraction = 0.5
  """The main block's mass on hard classes above which `probability` says hard."""
  run_share: Fraction = 0.2
  """Largest share of all images for which `argmax_uncertain` and `uncertain` let the extension run;
  the threshold that keeps it is fitted on validation."""
  calibrate: bool = False
  """Divide each exit's logits by the temperature fitted on validation before any rule looks at
  them; predictions stay, uncertainties and `most_confident` change."""


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
  """How records are collected and operating points selected."""

  batch_size: Positive = 128
  """Global; the last batch is padded and masked."""
  num_thresholds: Annotated[int, Range(2)] = 1001
  """Points of the threshold sweep."""
  calibration_fraction: Annotated[float, Range(0, 0.9)] = 0.0
  """Share of the validation images that select no hard class and fit no temperature. With
  `constraints.confidence`, thresholds are selected on them alone, because a guarantee needs images
  that selected nothing else; without it, on all validation images."""
  constraints: Constraints = Constraints(max_offload=0.2)
  """What operating points have to keep. eval's flags of these names replace all of them
  (`--confidence` alone joins them)."""


@dataclasses.dataclass(frozen=True)
class CostConfig:
  """The constants of the cost model (`meanet_jax/cost/energy.py`), each with its source."""

  edge_pj_per_mac: NonNegativeFloat = 4.6
  """Picojoules per MAC on the edge: a 32-bit float multiply (3.7) and add (0.9) at 45 nm; Horowitz,
  "Computing's energy problem", ISSCC 2014. Arithmetic alone: memory traffic is not in it."""
  edge_gmacs_per_second: PositiveFloat = 4.0
  """10^9 MACs per second on the edge: MobileNetV2's 300 M MACs in 75 ms on one large core of a
  Google Pixel 1; Sandler et al. 2018, table 4."""
  cloud_gmacs_per_second: PositiveFloat = 7850.0
  """10^9 MACs per second in the cloud: half of the 15.7 Tflop/s (float32) of an NVIDIA V100 SXM2's
  data sheet: a peak, so cloud latency is a lower bound."""
  radio: Literal["wifi", "lte", "3g"] = "wifi"
  """Upload power: `wifi`, `lte` and `3g` of Huang et al., MobiSys 2012."""
  uplink_mbps: PositiveFloat = 18.88
  """Mbit/s; the default is the WiFi uplink that the MEANet experiments assume."""
  round_trip_ms: NonNegativeFloat = 20.0
  """Network round trip beside the transfer itself, in milliseconds; 20 is an assumption."""
  bytes_per_image: NonNegative = 0
  """Bytes uploaded per offloaded image; 0 means the raw uint8 image."""


@dataclasses.dataclass(frozen=True)
class LoggingConfig:
  """What a run records, and which checkpoints it keeps."""

  every_steps: Positive = 50
  """Steps between lines of metrics.jsonl."""
  checkpoint_every_epochs: Positive = 10
  """Epochs between checkpoints of a stage; one is written at its end as well."""
  keep: Positive = 2
  """How many of the newest checkpoints of a stage stay on disk."""
  keep_best: bool = True
  """The checkpoint of the best validation accuracy (the newest of equals) stays as well. Training
  does not read it: a stage goes on from its newest, and hands on its last."""


@dataclasses.dataclass(frozen=True)
class Config:
  """One experiment."""

  seed: NonNegative = 0
  """Fixes initial weights, the order of images and augmentation; below 2^32."""
  dataset: DatasetConfig = DatasetConfig()
  model: ModelConfig = ModelConfig()
  hard_classes: HardClassesConfig = HardClassesConfig()
  stages: StagesConfig = StagesConfig()
  routing: RoutingConfig = RoutingConfig()
  evaluation: EvaluationConfig = EvaluationConfig()
  cost: CostConfig = CostConfig()
  baselines: BaselinesConfig = BaselinesConfig()
  logging: LoggingConfig = LoggingConfig()

  @property
  def num_hard(self) -> int:
    """K, the number of hard classes."""
    count = self.hard_classes.count
    return self.dataset.num_classes // 2 if count is None else count

  @property
  def extension_outputs(self) -> int:
    """How many classes the extension has: K or C."""
    return self.num_hard if self.model.extension_classes == "hard" else self.dataset.num_classes

  @property
  def stage_names(self) -> tuple[str, ...]:
    """The gradient stages that the experiment trains, in order."""
    edge = ("main", "edge", "finetune") if self.stages.training == "mixed" else ("main", "edge")
    return ("cloud", *edge) if self.stages.cloud_first else (*edge, "cloud")

  def stage(self, name: str) -> StageConfig:
    """The configuration of the gradient stage `name`, one of `STAGE_NAMES`, or `static`.

    The latter learns by main's recipe (`training/static.py`).
    """
    return self.stages.main if name == "static" else getattr(self.stages, name)
