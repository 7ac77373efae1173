"""Times training steps on CPU with XLA's kernel gradient and with ours; writes cpu_gradient.md.

Command: python -m benchmarks.cpu_gradient
"""

import argparse
import importlib
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.measured_on import measured_on
from meanet_jax.commands.app import run_script
from meanet_jax.commands.flags import Parser, add_integer
from meanet_jax.config.parsing import resolve
from meanet_jax.config.ranges import Range
from meanet_jax.files import write_text
from meanet_jax.models import layers
from meanet_jax.models.variables import init_variables
from meanet_jax.models.zoo import build
from meanet_jax.training import stages
from meanet_jax.training.optimizers import make_optimizer
from meanet_jax.training.state import create_state
from meanet_jax.training.steps import Recipe, make_train_step, stage_key

SECONDS = 0.3  # at least, of steps that are timed together
STEPS = (
  ("digits", stages.MAIN),
  ("digits", stages.EDGE),
  ("fashion_mnist", stages.MAIN),
  ("fashion_mnist", stages.EDGE),
  ("fashion_mnist", stages.CLOUD),
  ("cifar100_resnet32_b", stages.MAIN),
  ("cifar100_resnet32_b", stages.EDGE),
)
GRADIENTS = {"XLA's": jax.lax.conv_general_dilated, "ours": layers.conv_general_dilated}


class Steps:
  """Steps of a stage on made-up images, one after another, compiled with a kernel gradient."""

  def __init__(self, name: str, stage: stages.Stage, convolution: Callable[..., Any]):
    config = resolve(importlib.import_module(f"configs.{name}").get_config())
    settings, dataset = config.stage(stage.name), config.dataset
    model, rng, size = build(config), np.random.default_rng(0), settings.batch_size
    tx = make_optimizer(settings, 100)
    variables = init_variables(model, 0, dataset.image_shape, tuple(sorted(stage.blocks)))
    state = create_state(stage, variables, tx)
    classes = config.num_hard if stage is stages.EDGE else dataset.num_classes
    batch = {
      "image": jnp.asarray(rng.integers(256, size=(size, *dataset.image_shape)), jnp.uint8),
      "label": jnp.asarray(rng.integers(classes, size=size), jnp.int32),
      "position": jnp.arange(size, dtype=jnp.int32),
    }
    step = jax.jit(make_train_step(model, stage, Recipe(settings, tx), dataset), donate_argnums=0)
    self.batch_size, self.state, self.batch = size, state, batch
    self.key = stage_key(0, stage.name)
    with mock.patch.object(layers, "conv_general_dilated", convolution):
      begun = time.perf_counter()
      self.compiled = step.lower(self.state, batch, self.key).compile()
      self.compile_seconds = time.perf_counter() - begun
    self.seconds(1)  # the first step of a program is slower

  def seconds(self, steps: int) -> float:
    """Of one step, on average over so many."""
    begun = time.perf_counter()
    for _ in range(steps):
      self.state, _ = self.compiled(self.state, self.batch, self.key)
    jax.block_until_ready(self.state)
    return (time.perf_counter() - begun) / steps


def row(name: str, stage: stages.Stage, repeats: int) -> str:
  """Measures both kinds, interleaved."""
  kinds = [Steps(name, stage, convolution) for convolution in GRADIENTS.values()]
  together = max(1, round(SECONDS / kinds[0].seconds(1)))
  measured: list[list[float]] = [[] for _ in kinds]
  for _ in range(repeats):
    for times, kind in zip(measured, kinds, strict=True):
      times.append(kind.seconds(together))
  before, after = (1e3 * statistics.median(times) for times in measured)
  return (
    f"| `{name}` | `{stage.name}` | {kinds[0].batch_size} | {before:.2f} | {after:.2f} | "
    f"{before / after:.2f} | {kinds[0].compile_seconds:.1f} | {kinds[1].compile_seconds:.1f} |"
  )


def add_flags(parser: Parser) -> None:
  """The benchmark's flags."""
  add_integer(parser, "--repeats", Range(5), default=5, help="measurements of each kind")


def run(given: argparse.Namespace) -> None:
  """Measures and writes the page."""
  lines = [
    "# The kernel gradient of a convolution on CPU",
    "",
    f"Milliseconds of a complete training step, medians of {given.repeats}, both kinds "
    "interleaved, made-up images. Made by `python -m benchmarks.cpu_gradient`.",
    "",
    "| configuration | stage | batch | XLA's gradient [ms] | ours [ms] | speed-up "
    "| compiled in, XLA's [s] | ours [s] |",
    "|---|---|---|---|---|---|---|---|",
  ]
  for name, stage in STEPS:
    lines.append(row(name, stage, given.repeats))
    print(lines[-1], flush=True)
  lines += ["", *measured_on()]
  write_text(Path(__file__).with_suffix(".md"), "\n".join(lines))


if __name__ == "__main__":
  sys.exit(run_script(__doc__, add_flags, run))
