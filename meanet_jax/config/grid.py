"""The configuration of a grid: many trainings around one experiment; see docs/grids.md."""

import dataclasses
from typing import Literal

from meanet_jax.config.schema import Config, NonNegative, NonNegativeFloat, Positive


@dataclasses.dataclass(frozen=True)
class RayConfig:
  """How `--executor ray` runs the compilation groups of a grid as tasks.

  address: of a cluster (`auto`, `ray://HOST:PORT`, `HOST:PORT`); empty starts one on this machine.
  num_cpus, num_gpus: of a task, as Ray counts them.
  resources: any others, as NAME=AMOUNT (`TPU=4`).
  points_per_task: splits larger groups, each of whose tasks compiles for itself; 0: a task a group.
  max_retries: times that a task is begun again, where it stood, after its worker is lost.
  """

  address: str = ""
  num_cpus: NonNegativeFloat = 1.0
  num_gpus: NonNegativeFloat = 0.0
  resources: tuple[str, ...] = ()
  points_per_task: NonNegative = 0
  max_retries: NonNegative = 3


@dataclasses.dataclass(frozen=True)
class GridConfig:
  """Many trainings in one program.

  axes: what differs, as in `meanet_jax/grid/points.py`; the points are the product of the axes.
    train.py's flag of the group's name replaces them. None: an ordinary run.
  max_points: more are refused.
  per_device: trials that a device trains at a time; 0: all of a compilation group's, shared out
    evenly.
  batching: how a device trains several: `vmap`, `unroll` inside one program, or `auto`: unrolled
    on CPU, where `vmap` is slower than one after another, and `vmap` elsewhere.
  executor: what trains the compilation groups: `here`, this command's processes, or `ray`.
    train.py's flag of the same name replaces it.
  best_by: the system of summary.json whose accuracy on validation says which point is best.
  """

  axes: tuple[str, ...] = ()
  max_points: Positive = 256
  per_device: NonNegative = 0
  batching: Literal["auto", "vmap", "unroll"] = "auto"
  executor: Literal["here", "ray"] = "here"
  best_by: Literal["main_only", "edge_only", "cloud_only", "main_cloud", "meanet"] = "meanet"
  ray: RayConfig = RayConfig()


@dataclasses.dataclass(frozen=True)
class Experiment(Config):
  """What a configuration file fills in: one experiment, and the grid around it.

  A run knows nothing of the grid that it is a point of, so `Config` does without.
  """

  grid: GridConfig = GridConfig()
