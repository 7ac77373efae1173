"""What a MEANet costs: MACs, flops, parameters and memory, from traces and compilations."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from meanet_jax.config.schema import Config
from meanet_jax.cost.energy import BlockMacs
from meanet_jax.cost.macs import count_macs
from meanet_jax.models.meanet import BLOCKS, Exits, MEANet, Outputs
from meanet_jax.models.variables import abstract_variables, by_collection

PyTree = Any


@functools.lru_cache(maxsize=8)  # a second of tracing, which evaluations and exports ask for again
def block_macs(model: MEANet, image_shape: tuple[int, ...]) -> BlockMacs:
  """Multiply-accumulates of each block for one image, counted on its jaxpr."""
  macs = {
    name: count_macs(function, *arguments)
    for name, (function, arguments) in block_functions(model, image_shape).items()
  }
  return BlockMacs(macs["main"], macs.get("adaptive", 0) + macs["extension"], macs["cloud"])


def block_functions(
  model: MEANet, image_shape: tuple[int, ...], batch_size: int = 1
) -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
  """Per block that the model has: its forward function and abstract arguments for it."""
  abstract = abstract_variables(model, image_shape)
  collections = by_collection(abstract)
  image = jax.ShapeDtypeStruct((batch_size, *image_shape), jnp.float32)

  def part(method: str) -> Callable[..., Any]:
    return lambda variables, *arguments: model.apply(variables, *arguments, method=method)

  features = jax.eval_shape(part("main_features"), collections, image)
  functions = {
    "main": (part("classify_on_main"), (collections, image)),
    "cloud": (part("classify_on_cloud"), (collections, image)),
  }
  joined = features
  if "adaptive" in abstract:
    functions["adaptive"] = (part("adapt"), (collections, image))
    adapted = jax.eval_shape(part("adapt"), collections, image)
    joined = jax.eval_shape(model.joined, features, adapted)
  functions["extension"] = (part("classify_joined"), (collections, joined))
  return {block: functions[block] for block in BLOCKS if block in functions}


def compiled_flops(function: Callable[..., Any], *arguments: Any) -> float:
  """Floating-point operations of a function as XLA counts them once compiled."""
  return jax.jit(function).lower(*arguments).compile().cost_analysis()["flops"]


@functools.lru_cache(maxsize=32)  # seconds of tracing, which every evaluation asks for again
def activation_bytes(
  model: MEANet,
  image_shape: tuple[int, ...],
  exits: Exits,
  train: tuple[str, ...],
  batch_size: int,
) -> int:
  """Bytes of forward values that the backward pass of a training step keeps.

  What `jax.vjp` holds on to and grows with the batch: before XLA fuses or recomputes any of it, so
  an upper bound that no backend changes. The parameters themselves are not in it.

  Args:
    model: without a mapped axis.
    image_shape: height, width, channels.
    exits: whose logits enter the loss.
    train: the blocks that learn.
    batch_size: images.
  """
  abstract = abstract_variables(model, image_shape)
  collections = by_collection(abstract)
  learned = {block: tree for block, tree in collections["params"].items() if block in train}

  def pullback(params: PyTree, variables: PyTree, images: PyTree) -> PyTree:
    def forward(params: PyTree) -> Outputs:
      merged = {**variables, "params": variables["params"] | params}
      outputs, _ = model.apply(
        merged,
        images,
        exits,
        train,
        mutable=["batch_stats"],
        rngs={"dropout": jax.random.key(0)},
      )
      return outputs

    return jax.vjp(forward, params)[1]

  def kept(size: int) -> int:
    images = jax.ShapeDtypeStruct((size, *image_shape), jnp.float32)
    residuals = jax.eval_shape(pullback, learned, collections, images)
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(residuals))

  return kept(2 * batch_size) - kept(batch_size)


def training_activation_bytes(model: MEANet, config: Config) -> dict[str, int]:
  """`activation_bytes` at the configured batch sizes, per training step that a MEANet can take.

  `main`, `edge` and `cloud` are the stages; `whole_edge_network` trains all blocks of the edge at
  once, at the batch size of the stage that does, or else of the edge stage, which is what blockwise
  training saves.
  """
  edge = tuple(block for block in ("adaptive", "extension") if getattr(model, block) is not None)
  stages = config.stages
  together = stages.finetune if stages.training == "mixed" else stages.edge
  steps = {
    "main": (Exits.MAIN, ("main",), stages.main),
    "edge": (Exits.EXTENSION, edge, stages.edge),
    "whole_edge_network": (
      Exits.MAIN | Exits.EXTENSION,
      ("main", *edge),
      together,
    ),
    "cloud": (Exits.CLOUD, ("cloud",), stages.cloud),
  }
  return {
    name: activation_bytes(
      model, config.dataset.image_shape, exits, train, stage.batch_size // stage.accumulate
    )
    for name, (exits, train, stage) in steps.items()
  }


def count_parameters(variables: PyTree) -> int:
  """Trainable parameters of a block `{"params", "batch_stats"}`."""
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))


def exported_bytes(variables: PyTree) -> int:
  """Bytes of a block's float32 weights once batch norm is folded into the convolutions.

  Each norm's scale, mean and variance disappear into its convolution's kernel and one bias.
  """
  norms = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["batch_stats"])) // 2
  return 4 * (count_parameters(variables) - norms)
