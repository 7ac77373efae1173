"""Small configurations and made-up records for tests."""

import itertools
import typing

import numpy as np
from ml_collections import ConfigDict

from meanet_jax.config.parsing import default_config
from meanet_jax.evaluation.records import make_records
from meanet_jax.models.meanet import Outputs
from meanet_jax.routing.fusion import FusionWeights
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.policies import Policy
from meanet_jax.routing.rules import Records
from tests.learned import some_weights

# What a configuration file has for commands to read `tiny_config`.
TINY_FILE = "from tests.experiments import tiny_config as get_config\n"


def tiny_config() -> ConfigDict:
  """Digits through networks that compile in a second or two; two epochs a stage."""
  config = default_config()
  config.dataset.test_fraction = 0.4
  config.dataset.validation_fraction = 0.3
  config.evaluation.calibration_fraction = 0.4
  config.routing.policy = "configured"
  main = config.model.main.structure
  main.stem, main.stem_width = "conv3", 4
  main.depths, main.widths, main.strides = (1,), (4,), (2,)
  adaptive = config.model.adaptive
  adaptive.stem, adaptive.stem_width = "conv3", 4
  adaptive.depths, adaptive.widths, adaptive.strides = (1,), (4,), (2,)
  extension = config.model.extension
  extension.depths, extension.widths, extension.strides = (1,), (8,), (1,)
  cloud = config.model.cloud.structure
  cloud.stem, cloud.stem_width = "conv3", 8
  cloud.depths, cloud.widths, cloud.strides = (1,), (8,), (2,)
  for stage in (config.stages.main, config.stages.edge, config.stages.cloud):
    stage.epochs, stage.batch_size, stage.augment.pad_crop = 2, 64, 1
  config.logging.every_steps = 3
  config.logging.checkpoint_every_epochs = 1
  # What an epoch teaches is too little for an image sent to be worth it, and devices are to send.
  config.evaluation.constraints.spend_budget = True
  return config


def random_logits(
  rng: np.random.Generator, size: int, num_classes: int, hard_classes: np.ndarray
) -> tuple[np.ndarray, Outputs]:
  """Labels and random logits, sharp and flat ones among them, right more often than chance."""
  label = rng.integers(num_classes, size=size).astype(np.int32)

  def logits(classes: np.ndarray) -> np.ndarray:
    noise = rng.normal(size=(size, len(classes))) * rng.choice([0.1, 1, 5], size=(size, 1))
    return (noise + 2 * (classes == label[:, None])).astype(np.float32)

  every = np.arange(num_classes)
  return label, Outputs(logits(every), logits(hard_classes), logits(every))


def random_records(
  rng: np.random.Generator, size: int, num_classes: int, hard_classes: np.ndarray
) -> Records:
  """Records of `random_logits`, with fused answers and expected gains."""
  label, logits = random_logits(rng, size, num_classes, hard_classes)
  classes = HardClasses(hard_classes.astype(np.int32), num_classes)
  gain = some_weights(num_classes)
  return make_records(logits, label, classes, fusion=FusionWeights(0.6, 0.7), gain=gain)


def every_policy() -> list[Policy]:
  """All that `Policy` accepts."""
  rules = typing.get_type_hints(Policy)
  return [
    Policy(*chosen)
    for chosen in itertools.product(*map(typing.get_args, rules.values()))
    if (named := dict(zip(rules, chosen, strict=True)))["criterion"] != "learned"
    or (named["offload"] in ("late", "never") and named["edge_rule"] != "most_confident")
  ]
