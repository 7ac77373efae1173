"""What a grid will take, before anything of it compiles: from shapes alone."""

import dataclasses
import math
import time
from typing import Any

import jax
import jax.numpy as jnp

from meanet_jax.config.grid import GridConfig
from meanet_jax.data.splits import Dataset
from meanet_jax.grid.compilation_groups import CompilationGroup
from meanet_jax.grid.step import choose_batching
from meanet_jax.models.costs import block_macs, training_activation_bytes
from meanet_jax.models.variables import abstract_variables
from meanet_jax.models.zoo import build
from meanet_jax.training.optimizers import make_optimizer
from meanet_jax.training.stages import gradient_stages
from meanet_jax.training.state import create_state

# What small networks' training steps reach of a matrix product's rate; see docs/grids.md.
UTILISATION = 0.25
HOW = (
  "time: 2 x 3 x multiply-accumulates of the forward pass (the backward pass counted as two), and "
  "validation, at {share:.0%} of {rate:.0f} Gflop/s, the rate of a matrix product timed on this "
  "device; without compilation. Memory of a device: parameters, optimiser state and averages from "
  "abstract shapes, activations that the backward pass keeps before XLA fuses any (an upper "
  "bound), and the images"
)


@dataclasses.dataclass(frozen=True)
class Estimate:
  """Of a compilation group: seconds without compilation, and bytes on a device at most."""

  seconds: float
  bytes: int


def matrix_product_rate(size: int = 1024, repeats: int = 4) -> float:
  """Floating-point operations per second of a float32 matrix product on one device, the best."""
  product = jax.jit(jnp.matmul)
  x = jnp.ones((size, size), jnp.float32)
  product(x, x).block_until_ready()
  best = math.inf
  for _ in range(repeats):
    begun = time.perf_counter()
    product(x, x).block_until_ready()
    best = min(best, time.perf_counter() - begun)
  return 2 * size**3 / best


def estimate(group: CompilationGroup, dataset: Dataset, grid: GridConfig, rate: float) -> Estimate:
  """What a compilation group takes on the devices of all processes.

  Hard classes are not known yet: the edge stage counts K / C of the images.

  Args:
    group: its points.
    dataset: for the number and size of images.
    grid: how trials are batched.
    rate: flops per second of a device, of a matrix product.
  """
  config = group.config
  model = build(config)
  macs = block_macs(model, config.dataset.image_shape)
  share = config.num_hard / config.dataset.num_classes
  of_blocks = {"main": macs.main, "extension": macs.extension, "cloud": macs.cloud}
  flops = 0.0
  for stage in gradient_stages(config):
    settings = config.stage(stage.name)
    images = len(dataset.train) * (share if stage.images == "hard" else 1.0)
    passes = math.ceil(settings.epochs / config.logging.checkpoint_every_epochs)
    # The backward pass is two more forward passes over what learns, and none over what is read.
    read = {block: of_blocks[block] for block in of_blocks if block in stage.blocks}
    learned = sum(count for block, count in read.items() if block in stage.trainable)
    trained = sum(read.values()) + 2 * learned
    validated = stage.blocks - ({"cloud"} if stage.teacher else set())
    watched = {block: count for block, count in read.items() if block in validated}
    flops += 2 * trained * settings.epochs * images
    flops += 2 * sum(watched.values()) * passes * len(dataset.validation)
  devices = jax.device_count()  # of all processes, which share out the trials
  trials = grid.per_device or -(-len(group.points) // devices)
  trial_batches = -(-len(group.points) // (devices * trials))
  seconds = flops * trials * trial_batches / (UTILISATION * rate)
  return Estimate(seconds, trials * _trial_bytes(group, model) + _image_bytes(dataset, config))


def describe(rate: float) -> str:
  """How the figures come about, in one line."""
  return HOW.format(share=UTILISATION, rate=rate / 1e9)


def batching_of(grid: GridConfig) -> str:
  """How the trials of a device are batched here."""
  return choose_batching(grid.batching)


def _trial_bytes(group: CompilationGroup, model: Any) -> int:
  """Of the most demanding stage."""
  config = group.config
  abstract = abstract_variables(model, config.dataset.image_shape)
  activations = training_activation_bytes(model, config)
  most = 0
  for stage in gradient_stages(config):
    settings = config.stage(stage.name)
    tx = make_optimizer(settings, 1)
    state = jax.eval_shape(
      lambda variables, stage=stage, tx=tx, settings=settings: create_state(
        stage, variables, tx, settings.ema_decay > 0
      ),
      abstract,
    )
    kept = sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(state))
    together = len(stage.exits) > 1
    used = activations["whole_edge_network" if together else stage.name]
    most = max(most, kept + used)
  return most


def _image_bytes(dataset: Dataset, config: Any) -> int:
  images = getattr(dataset.train, "images", None)
  if images is not None:
    return images.nbytes
  largest = max(config.stage(name).batch_size for name in config.stage_names)
  return largest * math.prod(config.dataset.image_shape)
