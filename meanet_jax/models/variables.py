"""Variables by block: fresh, abstract, and in the order that Flax wants."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from meanet_jax.keys import named_key
from meanet_jax.models.meanet import BLOCKS, MEANet

PyTree = Any
# {block: {"params": ..., "batch_stats": ...}}
Variables = dict[str, dict[str, PyTree]]


def init_variables(
  model: MEANet, seed: int, image_shape: tuple[int, ...], blocks: tuple[str, ...]
) -> Variables:
  """Fresh variables of some blocks, each drawn from a key of its own, folded from its name.

  Args:
    model: any axis name; initialisation crosses no devices.
    seed: of the run.
    image_shape: height, width, channels.
    blocks: of the model.
  """
  initialise = _initialise(model, image_shape)
  return {block: initialise(named_key(seed, block), block) for block in blocks}


@functools.lru_cache(maxsize=8)  # traced and compiled once, whatever seeds a process needs
def _initialise(
  model: MEANet, image_shape: tuple[int, ...]
) -> Callable[[Key[Array, ""], str], dict[str, PyTree]]:
  def initialise(key: Key[Array, ""], block: str) -> dict[str, PyTree]:
    # Compiled, the other blocks are dead code.
    return _block_variables(model.init(key, jnp.zeros((1, *image_shape), jnp.float32)), block)

  # At its default level LLVM takes four times as long over these random numbers (15 s for digits)
  # as at this one, to the same bits. Other backends' compilers are left alone.
  options = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else {}
  return jax.jit(initialise, static_argnums=1, compiler_options=options)


@functools.lru_cache(maxsize=8)  # the points of a grid ask for the same ones, one after another
def abstract_variables(model: MEANet, image_shape: tuple[int, ...]) -> Variables:
  """Shapes and types of the variables of every block that the model has; not to be changed."""
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
