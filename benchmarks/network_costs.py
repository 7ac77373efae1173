"""Compiled flops of the edge stage with every network as main block; writes network_costs.md.

Command: python -m benchmarks.network_costs
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from benchmarks.measured_on import measured_on
from meanet_jax.config.networks import StructureConfig
from meanet_jax.config.parsing import default_config, resolve
from meanet_jax.config.schema import Config
from meanet_jax.config.stages import AugmentConfig
from meanet_jax.files import write_text
from meanet_jax.models.costs import block_functions, compiled_flops
from meanet_jax.models.meanet import MEANet
from meanet_jax.models.mobile_structures import MobileStructure
from meanet_jax.models.variables import abstract_variables
from meanet_jax.models.zoo import STRUCTURES, build
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.training.optimizers import make_optimizer
from meanet_jax.training.stages import EDGE, Stage
from meanet_jax.training.state import create_state
from meanet_jax.training.steps import Recipe, make_train_step

BATCH = 8
SIZE = {"conv3": 32, "conv7_pool": 224, "conv3_stride2": 224}
CLASSES = 100


def experiment(
  name: str, split_after: int = 0, join: str = "concat", expanded: bool = False
) -> Config:
  """The network in the places of main block, split where asked, and cloud.

  The adaptive block is the same trunk with one block per stage, so that it meets the main block
  whatever the join; the extension is one basic block. Inverted residuals of an adaptive block do
  not expand, as in the paper, unless `expanded` gives them the main block's factors.
  """
  config: ConfigDict = default_config()
  structure = STRUCTURES[name]
  config.dataset.image_shape = (SIZE[structure.stem], SIZE[structure.stem], 3)
  config.dataset.num_classes = CLASSES
  config.model.main.name, config.model.main.split_after = name, split_after
  config.model.cloud.name = name
  config.model.adaptive.update(dataclasses.asdict(shallow(structure, split_after, expanded)))
  extension = config.model.extension
  extension.depths, extension.widths, extension.strides = (1,), (64,), (1,)
  config.model.join = join
  return resolve(config)


def shallow(
  structure: StructureConfig | MobileStructure, stages: int, expanded: bool
) -> StructureConfig:
  """A trunk with one block in each of its first stages; 0 takes all stages."""
  count = stages or len(structure.depths)
  if isinstance(structure, MobileStructure):  # of MobileNetV2's blocks, as for that network
    structure = StructureConfig(
      block="inverted",
      stem=structure.stem,
      stem_width=structure.stem_width,
      depths=structure.depths,
      widths=structure.widths,
      strides=structure.strides,
      expansions=(1,) * len(structure.depths),
    )
  expansions = structure.expansions if expanded else (1,) * len(structure.expansions)
  return dataclasses.replace(
    structure,
    depths=(1,) * count,
    widths=structure.widths[:count],
    strides=structure.strides[:count],
    expansions=expansions[:count],
    final_width=0,
  )


def abstract_step(
  model: MEANet, config: Config, stage: Stage, batch_size: int = BATCH
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
  """A stage's training step, without augmentation, and abstract arguments for it."""
  settings = dataclasses.replace(config.stage(stage.name), augment=AugmentConfig())
  tx = make_optimizer(settings, 10)
  shape = config.dataset.image_shape
  state = jax.eval_shape(lambda v: create_state(stage, v, tx), abstract_variables(model, shape))
  numbers = jax.ShapeDtypeStruct((batch_size,), jnp.int32)
  batch = {
    "image": jax.ShapeDtypeStruct((batch_size, *shape), jnp.uint8),
    "label": numbers,
    "position": numbers,
  }
  key = jax.eval_shape(lambda: jax.random.key(0))
  first = HardClasses(np.arange(config.num_hard), config.dataset.num_classes)
  recipe = Recipe(settings, tx)
  step = make_train_step(model, stage, recipe, config.dataset, to_hard=first.known_map)
  return step, (state, batch, key)


def row(label: str, config: Config) -> str:
  """Compiles an experiment's blocks and its edge stage."""
  model = build(config)
  functions = block_functions(model, config.dataset.image_shape, BATCH)
  main_block, adaptive, extension = (
    compiled_flops(function, *arguments)
    for function, arguments in (functions[block] for block in ("main", "adaptive", "extension"))
  )
  own = adaptive + extension
  step, arguments = abstract_step(model, config, EDGE)
  edge = compiled_flops(step, *arguments)
  size = config.dataset.image_shape[0]
  return (
    f"| {label} | {size}x{size} | {main_block / 1e6:,.1f} | {own / 1e6:,.1f} | {edge / 1e6:,.1f} | "
    f"{edge / (main_block + 3.1 * own):.3f} |"
  )


def main() -> None:
  """Compiles every network's edge stage and writes the table."""
  lines = [
    "# The edge stage's flops, for every network as main block",
    "",
    f"As XLA counts them once compiled, at batch {BATCH}, with {CLASSES} classes. The adaptive "
    "block is the main block's trunk with one block per stage, the extension one basic block of 64 "
    "channels. Were the main block's backward pass in the step, it would cost twice the forward "
    "pass more. Made by `python -m benchmarks.network_costs`.",
    "",
    "| main block | image | forward(main) [M] | forward(adaptive + extension) [M] | "
    "edge stage [M] | edge stage / (forward(main) + 3.1 x forward(adaptive + extension)) |",
    "|---|---|---|---|---|---|",
  ]
  for name in STRUCTURES:
    lines.append(row(f"`{name}`", experiment(name)))
    print(lines[-1], flush=True)
  lines.append(row("`mobilenet_v2`, expanded", experiment("mobilenet_v2", expanded=True)))
  lines += [
    "",
    "*Expanded*: the adaptive block's inverted residuals have the main block's factors, up to 6, "
    "instead of the paper's 1. What XLA:CPU counts above the bound is arithmetic on single values "
    "(batch norm, ReLU6) that it computes again for each of the nine places of a depthwise "
    "kernel's gradient.",
  ]
  lines += ["", *measured_on()]
  write_text(Path(__file__).with_suffix(".md"), "\n".join(lines))


if __name__ == "__main__":
  main()
