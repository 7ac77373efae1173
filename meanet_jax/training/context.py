"""What travels with a run through all of its stages."""

import dataclasses

from meanet_jax.config.schema import Config
from meanet_jax.data.splits import Dataset
from meanet_jax.models.meanet import MEANet
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.stopping import Stop, never


@dataclasses.dataclass(frozen=True)
class RunContext:
  """One run: what learns, from which data, where it is kept and when it stops.

  config: the experiment.
  model: built from it; with the mapped axis where all devices train it together.
  dataset: which it learns from, as it was read.
  run: where its checkpoints and metrics are.
  stop: asked before every stage and after every step for the signal to end; where several processes
    train the run together, all of them get it at the same call.
  tensorboard: whether metrics are TensorBoard's events as well.
  """

  config: Config
  model: MEANet
  dataset: Dataset
  run: RunDirectory
  stop: Stop = never
  tensorboard: bool = False
