"""Compilation groups: points of a grid that differ in numbers alone, so one program trains them."""

import dataclasses
from collections.abc import Iterable

from meanet_jax.config.schema import Config
from meanet_jax.config.stages import DistillationConfig, StageConfig
from meanet_jax.grid.points import Point


@dataclasses.dataclass(frozen=True)
class CompilationGroup:
  """Points that one program per stage trains; `number` from 0, in the order of first points."""

  number: int
  points: tuple[Point, ...]

  @property
  def config(self) -> Config:
    """What the points have in common, and the first one's numbers."""
    return self.points[0].config


def compilation_groups(points: Iterable[Point]) -> list[CompilationGroup]:
  """The compilation groups of a grid."""
  by_program: dict[Config, list[Point]] = {}
  for point in points:
    by_program.setdefault(program(point.config), []).append(point)
  return [
    CompilationGroup(number, tuple(found)) for number, found in enumerate(by_program.values())
  ]


def program(config: Config) -> Config:
  """The configuration without its numbers: equal for two points that one program trains.

  The learning rate enters as a table of every step's, so nothing of a schedule changes a program.
  """
  networks = {
    name: dataclasses.replace(getattr(config.model, name), dropout=0.0)
    for name in ("main", "cloud")
  }
  stages = {name: _stage_program(config.stage(name)) for name in config.stage_names}
  return dataclasses.replace(
    config,
    seed=0,
    model=dataclasses.replace(config.model, **networks),
    stages=dataclasses.replace(config.stages, **stages),
  )


def _stage_program(stage: StageConfig) -> StageConfig:
  default = StageConfig()
  return dataclasses.replace(
    stage,
    learning_rate=default.learning_rate,
    schedule=default.schedule,
    step_epochs=default.step_epochs,
    step_factor=default.step_factor,
    warmup_epochs=default.warmup_epochs,
    weight_decay=0.0,
    label_smoothing=0.0,
    loss_weights=(),
    weigh_exits_by_share=False,
    easy_weight=1.0,
    # With class weights, or a teacher, a step has more to compute.
    class_weights="none" if stage.class_weights == "none" else "balanced",
    distillation=DistillationConfig(0.5 if stage.distillation.weight else 0.0),
    # Without momentum, or an average, a state has no place for it.
    momentum=0.5 if stage.momentum else 0.0,
    ema_decay=0.5 if stage.ema_decay else 0.0,
  )
