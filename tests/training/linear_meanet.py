"""A MEANet of three linear classifiers on the pixels: steps of it compile in a moment."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from meanet_jax.config.schema import Config
from meanet_jax.config.stages import AugmentConfig, StageConfig, StagesConfig
from meanet_jax.data.augment import augment, normalise
from meanet_jax.data.batches import Batch
from meanet_jax.models.meanet import Exits, MEANet, Network
from meanet_jax.models.variables import Variables
from meanet_jax.training.optimizers import make_optimizer
from meanet_jax.training.run_numbers import run_numbers
from meanet_jax.training.stages import Stage, gradient_stages
from meanet_jax.training.state import TrainState, create_state
from meanet_jax.training.steps import Recipe, Reduce, TrainStep, make_train_step, stage_key

HARD = [1, 3, 4, 6, 8]
TO_HARD = np.array([-1, 0, -1, 1, 2, -1, 3, -1, 4, -1], np.int32)
IS_HARD = TO_HARD >= 0
# Rate 1 and nothing else: what a step subtracts is the gradient.
PLAIN = StageConfig(
  learning_rate=1.0,
  momentum=0.0,
  weight_decay=0.0,
  schedule="constant",
  augment=AugmentConfig(pad_crop=1, flip=True),
)
# Main predicts a hard class for 3 of 8 images, and 4 are hard or predicted so.
FOUND = {
  "classes": HARD,
  "precision": [None] * 10,
  "confusion_counts": {"true": [0, 1, 2, 3], "predicted": [0, 3, 4, 7], "count": [4, 2, 1, 1]},
}


class Linear(Network):
  """A dense layer, and a count of the passes in training mode."""

  def setup(self):
    self.dense = nn.Dense(self.num_classes)
    self.passes = self.variable("batch_stats", "passes", lambda: jnp.zeros(()))

  def features(self, x: Any, train: bool) -> Any:  # noqa: ARG002 - the same in both modes
    return x

  def classify(self, features: Any, train: bool) -> Any:
    if train:
      self.passes.value += 1
    return self.dense(features.reshape(features.shape[0], -1))

  def __call__(self, x: Any, train: bool) -> Any:
    return self.classify(x, train)


def experiment(tiny: Config, extension_classes: str = "hard", **stages: Any) -> Config:
  """`tiny` with other fields of `stages`, whose stages are plain unless they are given."""
  given = dict.fromkeys(("main", "edge", "finetune", "cloud"), PLAIN) | stages
  return dataclasses.replace(
    tiny,
    model=dataclasses.replace(tiny.model, extension_classes=extension_classes),
    stages=StagesConfig(cloud_first=True, **given),
  )


def stage_of(config: Config, name: str) -> Stage:
  (found,) = (stage for stage in gradient_stages(config) if stage.name == name)
  return found


def linear_meanet(config: Config) -> tuple[MEANet, Variables]:
  def network(classes: int) -> Linear:
    return Linear(config.model.main.structure, classes)

  model = MEANet(network(10), network(config.extension_outputs), network(10), None, "none")
  collections = model.init(jax.random.key(1), jnp.zeros((1, 8, 8, 1)), Exits.ALL)
  blocks = ("main", "extension", "cloud")
  return model, {
    block: {name: collections[name][block] for name in ("params", "batch_stats")}
    for block in blocks
  }


def batch(config: Config, stage: Stage, size: int = 24) -> Batch:
  """Images, of hard classes under their labels where the stage learns from these alone."""
  rng = np.random.default_rng(3)
  classes = config.num_hard if stage.images == "hard" else 10
  return {
    "image": jnp.asarray(rng.integers(256, size=(size, 8, 8, 1)), jnp.uint8),
    "label": jnp.asarray(rng.integers(classes, size=size), jnp.int32),
    "position": jnp.arange(size, dtype=jnp.int32),
  }


def labels_of_training() -> np.ndarray:
  """Of an uneven training split: class c has 10 + c images."""
  return np.repeat(np.arange(10, dtype=np.int32), 10 + np.arange(10))


def start(config: Config, name: str, reduce: Reduce | None = None) -> tuple[TrainState, TrainStep]:
  stage, settings = stage_of(config, name), config.stage(name)
  model, variables = linear_meanet(config)
  tx = make_optimizer(settings, 10)
  found = FOUND if stage.needs_hard_classes else None
  numbers = run_numbers(stage, config, labels_of_training(), found)
  recipe = Recipe(settings, tx, numbers)
  step = make_train_step(
    model, stage, recipe, config.dataset, reduce, None if found is None else TO_HARD
  )
  return create_state(stage, variables, tx), step


def augmented(config: Config, name: str, data: Batch) -> np.ndarray:
  """The pixels [b, n] that the first step's networks see, float64."""
  key = jax.random.fold_in(stage_key(0, name), 0)
  images = augment(data["image"], data["position"], key, config.stage(name).augment)
  images = normalise(images, config.dataset.mean, config.dataset.std)
  return np.asarray(images, np.float64).reshape(len(images), -1)
