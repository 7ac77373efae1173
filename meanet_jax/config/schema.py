"""The configuration: frozen dataclasses, one per subject, each field with its meaning and range.

Configuration files hand out a `ml_collections.ConfigDict`; `config_dict.py` turns it into these
classes and checks every name, type and range. `config_checks.py` checks what no single field can
know.
"""

import dataclasses
from typing import Annotated, Any, Literal, NamedTuple


class Range(NamedTuple):
  """The closed interval of accepted values of a number (or of a tuple's items)."""

  low: float
  high: float = float("inf")

  def holds(self, value: Any) -> bool:
    """Whether a number, or each of a tuple, lies in it. NaN does not."""
    numbers = value if isinstance(value, tuple) else (value,)
    return all(self.low <= number <= self.high for number in numbers)


Positive = Annotated[int, Range(1)]
NonNegative = Annotated[int, Range(0)]
Fraction = Annotated[float, Range(0, 1)]
NonNegativeFloat = Annotated[float, Range(0)]
PositiveFloat = Annotated[float, Range(1e-30)]

Criterion = Literal["entropy", "max_prob", "margin"]
STAGE_NAMES = ("main", "edge", "cloud")


@dataclasses.dataclass(frozen=True)
class DatasetConfig:
  """Which images, how they are split and normalised.

  name: `digits`, `folder` for own images, or NAME[/CONFIG][:VERSION] of a TFDS set; see
    `meanet_jax/data/sources.py`.
  path: of own images: a folder of class folders, a CSV file or an .npz file (docs/own_images.md).
  image_shape: height, width, channels: 1 is grey, 3 RGB, 2 and 4 are these with an alpha channel.
    Sets whose images differ in size are cropped and resized to it; see `meanet_jax/images`. Of own
    images, 0 is found from the data before training.
  num_classes: C; the loaded labels must agree. Of own images, 0 is found from the data.
  mean, std: per channel (or one for all), on images scaled to [0, 1].
  train_split, test_split: TFDS splits or slices of them (`train[:90%]`), without common images.
  validation_fraction: share of the training images set aside for hard classes and thresholds, drawn
    with the shares of the classes kept.
  test_fraction: share set aside for testing, for sources without a test split of their own. Own
    images that have a validation or test split keep it, whatever the fractions.
  split_seed: fixes the splits; independent of `Config.seed`, so that seeds share a test split.
  in_memory_mb: 10^6 bytes of pixels up to which a set is decoded once and kept on the devices;
    larger ones are streamed.
  undecodable: what a damaged image does: `error` ends with its name, `skip` leaves it out and
    counts it.
  """

  name: str = "digits"
  path: str = ""
  image_shape: Annotated[tuple[int, ...], Range(0)] = (8, 8, 1)
  num_classes: NonNegative = 10
  mean: tuple[float, ...] = (0.5,)
  std: Annotated[tuple[float, ...], Range(1e-6)] = (0.5,)
  validation_fraction: Annotated[float, Range(1e-6, 0.9)] = 0.1
  train_split: str = "train"
  test_split: str = "test"
  test_fraction: Fraction = 0.0
  split_seed: NonNegative = 0
  in_memory_mb: NonNegative = 1000
  undecodable: Literal["error", "skip"] = "error"

  @property
  def incomplete(self) -> bool:
    """Whether the number of classes or the shape of the images is left to the data."""
    return not (self.num_classes and all(self.image_shape))


@dataclasses.dataclass(frozen=True)
class StructureConfig:
  """A stack of convolutional stages; every block of a MEANet is one of these and perhaps a head.

  block: `basic` and `bottleneck` are ResNet's, `inverted` is MobileNetV2's.
  stem: what comes before the first stage: nothing, a 3x3 convolution of stride 1 or 2, or a 7x7
    convolution of stride 2 and a 3x3 max pool of stride 2; each with batch norm and activation.
  stem_width: the stem's channels (ignored without a stem).
  depths, widths, strides: per stage: number of blocks, channels, stride of the first block. A
    bottleneck stage has 4 x width output channels.
  expansions: per stage, for inverted blocks only: the factor from input to inner channels.
  final_width: channels of a 1x1 convolution between the features and the head's pool; 0: none.
  """

  block: Literal["basic", "bottleneck", "inverted"] = "basic"
  stem: Literal["none", "conv3", "conv3_stride2", "conv7_pool"] = "none"
  stem_width: NonNegative = 0
  depths: Annotated[tuple[int, ...], Range(1)] = ()
  widths: Annotated[tuple[int, ...], Range(1)] = ()
  strides: Annotated[tuple[int, ...], Range(1)] = ()
  expansions: Annotated[tuple[int, ...], Range(1)] = ()
  final_width: NonNegative = 0


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
  """A whole classifier: the main block or the cloud.

  name: a network of `meanet_jax/models/zoo.py`, or `custom` for the one in `structure`.
  structure: read when `name` is `custom`, and must be left empty otherwise.
  width_multiplier: scales MobileNetV2's channels; 1 for every other network.
  split_after: keep only the first so many stages (split net "A" of the paper); 0 keeps all.
  head_pool: 0 pools globally; k pools k x k with stride k and flattens what is left.
  dropout: share of the pooled features dropped in training.
  pretrained: path of a torchvision-style state dict to start from; empty for none.
  reset_head: with pretrained weights, start the last dense layer afresh, whatever the file's is
    called, if it has one.
  """

  name: str = "custom"
  structure: StructureConfig = StructureConfig()
  width_multiplier: PositiveFloat = 1.0
  split_after: NonNegative = 0
  head_pool: NonNegative = 0
  dropout: Annotated[float, Range(0, 0.99)] = 0.0
  pretrained: str = ""
  reset_head: bool = False


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """The four networks of a MEANet and how they meet.

  join: how main features meet adaptive features: on channels (`concat`), added (`sum`), or not at
    all (`none`: there is no adaptive block and the extension sees main features alone).
  compute_dtype: of activations and convolutions; parameters, statistics and logits are float32.
  batch_norm: in training, over the batch of all devices (`synchronised`) or of each alone
    (`per_device`; running statistics are then the mean of the devices').
  """

  main: NetworkConfig = NetworkConfig()
  adaptive: StructureConfig = StructureConfig()
  extension: StructureConfig = StructureConfig()
  cloud: NetworkConfig = NetworkConfig()
  join: Literal["concat", "sum", "none"] = "concat"
  compute_dtype: Literal["float32", "bfloat16"] = "float32"
  batch_norm: Literal["synchronised", "per_device"] = "synchronised"


@dataclasses.dataclass(frozen=True)
class HardClassesConfig:
  """count: K, the number of hard classes; unset means C // 2.

  selection: those of least precision (of equals those of fewer correct predictions, then of lower
    recall), or as many `random` ones (an ablation), drawn from the seed. Classes without training
    images, or without validation images that select, are never hard.
  """

  count: int | None = None
  selection: Literal["least_precise", "random"] = "least_precise"


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
  """Training-time augmentation, drawn per image on the device.

  pad_crop: pad so many pixels on each side, then crop back at a random place.
  random_resized_crop: cut out 8% to 100% of the area at an aspect ratio of 3/4 to 4/3 and resize
    it to the image's size; the recipe of Szegedy et al. 2015 with torchvision's constants. Streamed
    images are cut on the host, before they are resized.
  flip: mirror left-right with probability one half.
  colour_jitter: scale brightness, contrast and saturation by factors uniform in 1 - x to 1 + x, in
    this order; torchvision's ColorJitter without hue.
  cutout: blank a square of so many pixels a side with the data set's mean, its centre anywhere in
    the image; DeVries and Taylor 2017.
  """

  pad_crop: NonNegative = 0
  random_resized_crop: bool = False
  flip: bool = False
  colour_jitter: Fraction = 0.0
  cutout: NonNegative = 0


@dataclasses.dataclass(frozen=True)
class StageConfig:
  """How one stage trains.

  epochs: passes over the stage's images; 0 keeps pretrained weights as they are.
  batch_size: of one step, over all devices; the last incomplete batch of an epoch is left out.
  accumulate: micro-batches that a step splits its batch into, one after another, to need less
    memory; the gradient is their mean. Batch norm sees one micro-batch at a time.
  optimizer, schedule: see `meanet_jax/training/optimizers.py`.
  learning_rate: the peak; momentum (the first moment's decay in `adamw` and `lamb`) and
    weight_decay (on every parameter) as in the optimiser.
  schedule: `step` multiplies by `step_factor` at each epoch of `step_epochs`; `cosine` falls to 0;
    `one_cycle` rises from 1/25 of the peak and falls to 1/10,000 of where it began.
  warmup_epochs: linear rise from 0 to the peak before that. `one_cycle` has no other rise than its
    own, which then takes so many epochs instead of three tenths of all steps.
  label_smoothing: probability mass moved from the label to all classes evenly.
  loss_weights: factors of the cross-entropies that the stage's loss adds up, at least 0 and one of
    them above: of main and extension in a joint stage `edge`, of its one exit in any other. The
    logged loss has them in it. Empty: 1 each.
  ema_decay: of the moving average of parameters and batch statistics, which is then what is
    validated, handed on and evaluated; 0 keeps none. Step t decays by min(ema_decay, (1 + t) /
    (10 + t)), so that a short run does not stay where it began.
  """

  epochs: NonNegative = 1
  batch_size: Positive = 128
  accumulate: Positive = 1
  optimizer: Literal["sgd", "adamw", "lamb"] = "sgd"
  learning_rate: PositiveFloat = 0.1
  momentum: Annotated[float, Range(0, 1)] = 0.9
  weight_decay: NonNegativeFloat = 1e-4
  schedule: Literal["constant", "step", "cosine", "one_cycle"] = "step"
  step_epochs: Annotated[tuple[int, ...], Range(1)] = ()
  step_factor: PositiveFloat = 0.1
  warmup_epochs: NonNegative = 0
  label_smoothing: Annotated[float, Range(0, 0.99)] = 0.0
  loss_weights: Annotated[tuple[float, ...], Range(0)] = ()
  ema_decay: Annotated[float, Range(0, 0.999999)] = 0.0
  augment: AugmentConfig = AugmentConfig()


@dataclasses.dataclass(frozen=True)
class StagesConfig:
  """The stages that learn by gradient.

  joint: an ablation of MEANet's blockwise training: in stage `edge` the main block learns on, from
    all images, together with adaptive and extension block, from those of hard classes.
  """

  main: StageConfig = StageConfig()
  edge: StageConfig = StageConfig()
  cloud: StageConfig = StageConfig()
  joint: bool = False


@dataclasses.dataclass(frozen=True)
class RoutingConfig:
  """The inference rules of `meanet_jax/routing/policies.py`.

  hard_threshold: main's probability mass on hard classes above which `probability` says hard.
  calibrate: divide each exit's logits by the temperature fitted on validation before any rule
    looks at them; predictions stay, uncertainties and `most_confident` change.
  """

  hard_rule: Literal["argmax", "probability"] = "argmax"
  edge_rule: Literal["extension", "most_confident"] = "extension"
  offload_rule: Literal["main", "edge"] = "main"
  criterion: Criterion = "entropy"
  hard_threshold: Fraction = 0.5
  calibrate: bool = False


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
  """How records are collected and thresholds chosen.

  batch_size: global; the last batch is padded and masked.
  num_thresholds: points of the threshold sweep.
  calibration_fraction: share of the validation images that select no hard class and fit no
    temperature. With `confidence`, thresholds are chosen on them alone, because a guarantee needs
    images that chose nothing else; without it, on the whole validation split.
  max_offload, max_energy_mj, max_latency_ms, min_accuracy, price, confidence: the wish under which
    thresholds are chosen on validation, as in `meanet_jax/selection/select.py`; unset asks nothing.
    eval.py's flags of these names replace all of it (`--confidence` alone joins it).
  """

  batch_size: Positive = 128
  num_thresholds: Annotated[int, Range(2)] = 1001
  calibration_fraction: Annotated[float, Range(0, 0.9)] = 0.0
  max_offload: Fraction | None = 0.2
  max_energy_mj: NonNegativeFloat | None = None
  max_latency_ms: NonNegativeFloat | None = None
  min_accuracy: Fraction | None = None
  price: NonNegativeFloat | None = None
  confidence: Annotated[float, Range(0.5, 0.999999)] | None = None


@dataclasses.dataclass(frozen=True)
class CostConfig:
  """The constants of the cost model (`meanet_jax/cost/energy.py`), each with its source.

  edge_pj_per_mac: 4.6 pJ for a 32-bit float multiply (3.7) and add (0.9) at 45 nm; Horowitz,
    "Computing's energy problem", ISSCC 2014. Arithmetic alone: memory traffic is not in it.
  edge_gmacs_per_second: 4.0, from MobileNetV2's 300 M MACs in 75 ms on one large core of a Google
    Pixel 1; Sandler et al. 2018, table 4.
  cloud_gmacs_per_second: 7,850, half of the 15.7 Tflop/s (float32) of an NVIDIA V100 SXM2's data
    sheet: a peak, so cloud latency is a lower bound.
  radio: upload power; `wifi`, `lte` and `3g` of Huang et al., MobiSys 2012.
  uplink_mbps: 18.88 Mbit/s, the WiFi uplink that the MEANet experiments assume.
  round_trip_ms: network round trip beside the transfer itself; 20 is an assumption.
  bytes_per_image: bytes uploaded per offloaded image; 0 means the raw uint8 image.
  """

  edge_pj_per_mac: NonNegativeFloat = 4.6
  edge_gmacs_per_second: PositiveFloat = 4.0
  cloud_gmacs_per_second: PositiveFloat = 7850.0
  radio: Literal["wifi", "lte", "3g"] = "wifi"
  uplink_mbps: PositiveFloat = 18.88
  round_trip_ms: NonNegativeFloat = 20.0
  bytes_per_image: NonNegative = 0


@dataclasses.dataclass(frozen=True)
class LoggingConfig:
  """every_steps: steps between lines of metrics.jsonl; checkpoint_every_epochs and keep: the newest
  `keep` checkpoints of a stage stay on disk, one is written every so many epochs and at the end.
  keep_best: the checkpoint of the best validation accuracy (the newest of equals) stays as well.
  Training does not read it: a stage goes on from its newest, and hands on its last.
  """

  every_steps: Positive = 50
  checkpoint_every_epochs: Positive = 10
  keep: Positive = 2
  keep_best: bool = True


@dataclasses.dataclass(frozen=True)
class Config:
  """One experiment. `seed` fixes initial weights, the order of images and augmentation."""

  seed: NonNegative = 0
  dataset: DatasetConfig = DatasetConfig()
  model: ModelConfig = ModelConfig()
  hard_classes: HardClassesConfig = HardClassesConfig()
  stages: StagesConfig = StagesConfig()
  routing: RoutingConfig = RoutingConfig()
  evaluation: EvaluationConfig = EvaluationConfig()
  cost: CostConfig = CostConfig()
  logging: LoggingConfig = LoggingConfig()

  @property
  def num_hard(self) -> int:
    """K, the number of hard classes."""
    count = self.hard_classes.count
    return self.dataset.num_classes // 2 if count is None else count

  def stage(self, name: str) -> StageConfig:
    """The configuration of the gradient stage `name`, one of `STAGE_NAMES`."""
    return {"main": self.stages.main, "edge": self.stages.edge, "cloud": self.stages.cloud}[name]
