"""The state of a stage in training."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from meanet_jax.models.variables import Variables
from meanet_jax.training.hyperparameters import Number
from meanet_jax.training.stages import Stage

PyTree = Any
# Sums of metrics since the last line of metrics.jsonl, as a checkpoint holds them.
SUMS = ("loss", "examples", "correct", "count", "gradient_norm")
NO_SUMS = {name: np.zeros((), np.float64) for name in SUMS}


@flax.struct.dataclass
class TrainState:
  """Everything that a step reads and writes.

  step: int32, steps taken. params, batch_stats: of the stage's trainable blocks, by block.
  opt_state: the optimiser's. frozen: variables of the blocks that the stage reads but
  that do not learn.
  average: the moving average of the trainable blocks' variables; None where none is kept.
  """

  step: Any
  params: PyTree
  batch_stats: PyTree
  opt_state: PyTree
  frozen: Variables
  average: Variables | None = None

  def learned(self) -> Variables:
    """The variables that the stage hands on, by block: their average where one is kept."""
    return self.newest() if self.average is None else self.average

  def newest(self) -> Variables:
    """The variables of the trainable blocks after the last step, by block."""
    return {
      block: {"params": self.params[block], "batch_stats": self.batch_stats[block]}
      for block in self.params
    }


def create_state(
  stage: Stage, variables: Variables, tx: optax.GradientTransformation, averaged: bool = False
) -> TrainState:
  """The state at step 0 of a stage, on the host's default device.

  Args:
    stage: which blocks learn.
    variables: of the blocks that the stage needs, at least.
    tx: the stage's optimiser.
    averaged: whether a moving average is kept, beginning at `variables`.
  """
  trainable = [block for block in variables if block in stage.trainable]
  params = {block: variables[block]["params"] for block in trainable}
  state = TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    batch_stats={block: variables[block]["batch_stats"] for block in trainable},
    opt_state=tx.init(params),
    frozen={
      block: value
      for block, value in variables.items()
      if block in stage.blocks and block not in trainable
    },
  )
  # A copy: a step may reuse the buffers of either.
  return state.replace(average=jax.tree.map(jnp.copy, state.newest())) if averaged else state


def saved(state: TrainState, sums: dict[str, Any] = NO_SUMS) -> dict[str, Any]:
  """What a checkpoint holds of a state, all but what other stages have learned; and metric sums."""
  kept = {
    "step": state.step,
    "params": state.params,
    "batch_stats": state.batch_stats,
    "opt_state": state.opt_state,
    "sums": sums,
  }
  return kept if state.average is None else kept | {"average": state.average}


def averaged(state: TrainState, decay: Number) -> TrainState:
  """The state with its newest variables taken into their moving average.

  average <- d average + (1 - d) newest, with d = min(decay, (1 + t) / (10 + t)) after step t = 1,
  2, ...: the decay of tf.train.ExponentialMovingAverage with `num_updates`. Batch statistics are
  averaged as well: those of the newest parameters are not the averaged ones'.

  Args:
    state: after the step, with an average.
    decay: `StageConfig.ema_decay`.
  """
  steps = state.step.astype(jnp.float32)
  kept = jnp.minimum(jnp.float32(decay), (1 + steps) / (10 + steps))
  average = optax.incremental_update(state.newest(), state.average, 1 - kept)
  return state.replace(average=average)
