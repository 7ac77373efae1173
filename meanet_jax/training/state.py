"""The state of a stage in training, and the initial variables of every block."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Key

from meanet_jax.data.batches import stage_number
from meanet_jax.models.meanet import BLOCKS, MEANet
from meanet_jax.training.stages import Stage

PyTree = Any
# {block: {"params": ..., "batch_stats": ...}}
Variables = dict[str, dict[str, PyTree]]


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


def init_variables(
  model: MEANet, seed: int, image_shape: tuple[int, ...], blocks: tuple[str, ...]
) -> Variables:
  """Fresh variables of some blocks. Each draws from a key of its own, folded from its name.

  Args:
    model: any axis name; initialisation crosses no devices.
    seed: the experiment's.
    image_shape: height, width, channels.
    blocks: of the model.
  """

  def initialise(key: Key[Array, ""], block: str) -> dict[str, PyTree]:
    # Compiled, the other blocks are dead code.
    return _block_variables(model.init(key, jnp.zeros((1, *image_shape), jnp.float32)), block)

  keys = {
    block: jax.random.fold_in(jax.random.key(seed), np.uint32(stage_number(block)))
    for block in blocks
  }
  compiled = jax.jit(initialise, static_argnames="block")
  return {block: compiled(key, block) for block, key in keys.items()}


def abstract_variables(model: MEANet, image_shape: tuple[int, ...]) -> Variables:
  """Shapes and types of the variables of every block that the model has."""
  collections = jax.eval_shape(
    lambda: model.init(jax.random.key(0), jnp.zeros((1, *image_shape), jnp.float32))
  )
  return {
    block: _block_variables(collections, block)
    for block in BLOCKS
    if block in collections["params"]
  }


def _block_variables(collections: PyTree, block: str) -> dict[str, PyTree]:
  return {name: collections[name].get(block, {}) for name in ("params", "batch_stats")}


def by_collection(variables: Variables) -> dict[str, PyTree]:
  """Variables in the order that `MEANet.apply` takes: collection first, then block."""
  return {
    name: {block: value[name] for block, value in variables.items()}
    for name in ("params", "batch_stats")
  }
