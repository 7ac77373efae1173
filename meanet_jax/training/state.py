"""The state of a stage in training."""

from typing import Any

import flax.struct
import jax.numpy as jnp
import optax

from meanet_jax.models.variables import Variables
from meanet_jax.training.stages import Stage

PyTree = Any


@flax.struct.dataclass
class TrainState:
  """Everything that a step reads and writes.

  step: int32, steps taken. params, batch_stats: of the stage's trainable blocks, by block.
  opt_state: the optimiser's. frozen: variables of the blocks that are read but do not learn.
  """

  step: Any
  params: PyTree
  batch_stats: PyTree
  opt_state: optax.OptState
  frozen: Variables

  def learned(self) -> Variables:
    """The variables of the trainable blocks, by block."""
    return {
      block: {"params": self.params[block], "batch_stats": self.batch_stats[block]}
      for block in self.params
    }


def create_state(
  stage: Stage, variables: Variables, tx: optax.GradientTransformation
) -> TrainState:
  """The state at step 0 of a stage, on the host's default device.

  Args:
    stage: which blocks learn.
    variables: of every block of the model.
    tx: the stage's optimiser.
  """
  trainable = [block for block in variables if block in stage.trainable]
  params = {block: variables[block]["params"] for block in trainable}
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    batch_stats={block: variables[block]["batch_stats"] for block in trainable},
    opt_state=tx.init(params),
    frozen={block: value for block, value in variables.items() if block not in trainable},
  )
