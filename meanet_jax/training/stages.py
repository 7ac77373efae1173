"""A stage as data: which variables learn, from which images, by which logits; and their order."""

import dataclasses
from typing import Literal

from meanet_jax.config.schema import Config
from meanet_jax.config.stages import StageConfig
from meanet_jax.data.batches import steps_per_epoch
from meanet_jax.models.meanet import Exits

EDGE_BLOCKS = ("main", "adaptive", "extension")


@dataclasses.dataclass(frozen=True)
class Stage:
  """One training stage with a gradient.

  name: as in the configuration and on disk.
  trainable: the blocks that learn and whose batch norm is in training mode.
  exits: those whose logits enter the loss, their weighed losses added.
  watched: the exit among them whose accuracy is logged and validated.
  images: `all`, or those of `hard` classes with labels remapped to 0 .. K - 1.
  extension_classes: which classes the extension has: the `hard` ones, or `all`.
  teacher: whether its exits learn from the cloud's answers too.
  """

  name: str
  trainable: tuple[str, ...]
  exits: Exits
  watched: Exits
  images: Literal["all", "hard"] = "all"
  extension_classes: Literal["hard", "all"] = "hard"
  teacher: bool = False

  @property
  def blocks(self) -> frozenset[str]:
    """The blocks that its logits need; no step carries the others."""
    needed = {Exits.MAIN: {"main"}, Exits.EXTENSION: EDGE_BLOCKS, Exits.CLOUD: {"cloud"}}
    taught_by = {"cloud"} if self.teacher else set()
    return frozenset(taught_by).union(*(needed[exit] for exit in self.exits))

  @property
  def computed(self) -> Exits:
    """The exits whose logits a step computes: main's as well where they weigh images."""
    weighs = Exits.EXTENSION in self.exits and self.extension_classes == "all"
    return self.exits | Exits.MAIN if weighs else self.exits

  @property
  def needs_hard_classes(self) -> bool:
    """Whether it begins only once the hard classes are selected."""
    return Exits.EXTENSION in self.exits


MAIN = Stage("main", ("main",), Exits.MAIN, Exits.MAIN)
EDGE = Stage("edge", ("adaptive", "extension"), Exits.EXTENSION, Exits.EXTENSION, images="hard")
# `joint`: every block of the edge learns at once, an extension of hard classes from their images.
JOINT = Stage("edge", EDGE_BLOCKS, Exits.MAIN | Exits.EXTENSION, Exits.MAIN)
FINETUNE = Stage("finetune", EDGE_BLOCKS, Exits.MAIN | Exits.EXTENSION, Exits.MAIN)
CLOUD = Stage("cloud", ("cloud",), Exits.CLOUD, Exits.CLOUD)
# A main block alone, of another width (`training/static.py`); it is no part of the MEANet.
STATIC = Stage("static", ("main",), Exits.MAIN, Exits.MAIN)


def gradient_stages(config: Config) -> tuple[Stage, ...]:
  """The stages with a gradient, in the order in which they train.

  The stage `hard_classes`, which has none, comes before the first that needs its outcome.
  """
  edge, knows = JOINT if config.stages.training == "joint" else EDGE, config.model.extension_classes
  if knows == "all":
    edge = dataclasses.replace(edge, images="all")
  stages = {stage.name: stage for stage in (MAIN, edge, FINETUNE, CLOUD)}
  return tuple(
    dataclasses.replace(
      stages[name],
      extension_classes=knows,
      teacher=config.stage(name).distillation.weight > 0,
    )
    for name in config.stage_names
  )


def num_steps(settings: StageConfig, images: int) -> int:
  """Steps of a stage that learns from so many images."""
  return settings.epochs * steps_per_epoch(images, settings.batch_size)
