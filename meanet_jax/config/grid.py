"""The configuration of a grid: many trainings around one experiment; see docs/grids.md."""

import dataclasses
from typing import Literal

from meanet_jax.config.ranges import NonNegative, NonNegativeFloat, Positive
from meanet_jax.config.schema import Config


@dataclasses.dataclass(frozen=True)
class RayConfig:
  """How `--executor ray` runs the compilation groups of a grid as tasks."""

  address: str = ""
  """Of a cluster (`auto`, `ray://HOST:PORT`, `HOST:PORT`); empty starts one on this machine."""
  num_cpus: NonNegativeFloat = 1.0
  """CPUs of a task, as Ray counts them."""
  num_gpus: NonNegativeFloat = 0.0
  """GPUs of a task, as Ray counts them."""
  resources: tuple[str, ...] = ()
  """Any others, as NAME=AMOUNT (`TPU=4`)."""
  points_per_task: NonNegative = 0
  """Splits larger groups, each of whose tasks compiles for itself; 0: a task a group."""
  max_retries: NonNegative = 3
  """Times that a task is begun again, where it stood, after its worker is lost."""


@dataclasses.dataclass(frozen=True)
class GridConfig:
  """Many trainings in one program."""

  axes: tuple[str, ...] = ()
  """What differs, as in `meanet_jax/grid/points.py`; the points are the product of the axes. The
  flag `--grid` of `meanet train` replaces them. None: an ordinary run."""
  max_points: Positive = 256
  """Grids of more points are refused."""
  per_device: NonNegative = 0
  """Trials that a device trains at a time; 0: all of a group's, shared out evenly."""
  batching: Literal["auto", "vmap", "unroll"] = "auto"
  """How a device trains several: `vmap`, `unroll` inside one program, or `auto`: unrolled on CPU,
  where `vmap` is slower than one after another, and `vmap` elsewhere."""
  executor: Literal["here", "ray"] = "here"
  """What trains the compilation groups: `here`, the command's own processes, or `ray`. The flag
  `--executor` of `meanet train` replaces it."""
  best_by: Literal["main_only", "edge_only", "cloud_only", "main_cloud", "meanet"] = "meanet"
  """The system of summary.json whose accuracy on validation says which point is best."""
  ray: RayConfig = RayConfig()


@dataclasses.dataclass(frozen=True)
class Experiment(Config):
  """What a configuration file fills in: one experiment, and the grid around it.

  A run knows nothing of the grid that it is a point of, so `Config` does without.
  """

  grid: GridConfig = GridConfig()
