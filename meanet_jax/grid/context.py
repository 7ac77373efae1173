"""What travels with a grid through all of its compilation groups."""

import dataclasses
from pathlib import Path

from meanet_jax.config.grid import GridConfig
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.stopping import Stop, never


@dataclasses.dataclass(frozen=True)
class GridContext:
  """A grid under way: where it is kept, how its trials are trained and when they stop.

  path: the grid's directory.
  grid: how trials are batched.
  options: where and how data are read.
  stop: asked before every stage and after every step for the signal to end.
  tensorboard: whether metrics are TensorBoard's events as well.
  """

  path: Path
  grid: GridConfig
  options: ReadOptions = ReadOptions()
  stop: Stop = never
  tensorboard: bool = False
