"""Times the training loop against bare calls of its own compiled step, and the edge stage's step
against the main stage's; writes benchmarks/train_step.md.

Command: python -m benchmarks.train_step

The loop's time per step is what it writes to timing.jsonl: reading batches, dispatch, metrics and
the checks of every step; validation and checkpoints are not in it. Bare calls pass one batch that
already lies on the device again and again, and wait for the last.
"""

import argparse
import dataclasses
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.bare_step import BareStep, Case
from benchmarks.measured_on import measured_on
from configs import cifar100_resnet32_b, digits
from meanet_jax.commands.app import run_script
from meanet_jax.commands.flags import Parser, add_integer
from meanet_jax.config.parsing import resolve
from meanet_jax.config.ranges import Range
from meanet_jax.config.schema import Config
from meanet_jax.cost.macs import count_macs
from meanet_jax.data.sources import load
from meanet_jax.data.splits import ArraySplit, Dataset
from meanet_jax.files import write_text
from meanet_jax.models.costs import block_functions
from meanet_jax.models.meanet import BLOCKS
from meanet_jax.models.variables import init_variables
from meanet_jax.models.zoo import build
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.runs.metrics import MetricsFile
from meanet_jax.training import stages
from meanet_jax.training.context import RunContext
from meanet_jax.training.parallel import AXIS
from meanet_jax.training.run_stage import train_stage
from meanet_jax.training.stage_images import StageImages


def add_flags(parser: Parser) -> None:
  """The benchmark's flags."""
  add_integer(parser, "--repeats", Range(5), default=15, help="measurements of each kind")


def run(given: argparse.Namespace) -> None:
  """Measures and writes the page."""
  with tempfile.TemporaryDirectory() as cache:
    # Every round of the loop builds its step anew; it is compiled once.
    jax.config.update("jax_compilation_cache_dir", cache)
    cases = _cases()
    loop = [_loop_row(case, given.repeats) for case in cases]
    stages_rows = [_stage_row(case, given.repeats) for case in cases]
  lines = [
    "# A training step",
    "",
    f"Medians of {given.repeats} measurements, the kinds in turn. "
    "Made by `python -m benchmarks.train_step`.",
    "",
    "Real steps of the main stage's loop (time as it writes to timing.jsonl: batches, dispatch, "
    "metrics; without validation and checkpoints) against bare calls of the same compiled step "
    "with one batch that lies on the device. Target: at most 3% more.",
    "",
    "| network | batch | steps | loop [ms] | bare [ms] | loop / bare, each round | median |",
    "|---|---|---|---|---|---|---|",
    *loop,
    "",
    "The edge stage's step against the main stage's, on the same batch. Theory counts "
    "multiply-accumulates of convolutions and dense layers, twice for a flop: a block that learns "
    "costs its forward pass three times (outputs, gradient of inputs, gradient of weights), less "
    "the gradient of its first layer's input, the image; the main block in the edge stage costs "
    "its forward pass once. `compiled` is XLA's count of the compiled step, which adds batch norm, "
    "loss, augmentation and optimiser.",
    "",
    "| network | step | time [ms] | compiled [Mflop/image] | theory [Mflop/image] | ratio |",
    "|---|---|---|---|---|---|",
    *(line for rows in stages_rows for line in rows),
    "",
    *measured_on(),
  ]
  text = "\n".join(lines)
  write_text(Path(__file__).with_suffix(".md"), text)
  print(text)


def _cases() -> list[Case]:
  small = resolve(digits.get_config())
  large = resolve(cifar100_resnet32_b.get_config())
  rng = np.random.default_rng(0)
  images = rng.integers(256, size=(8 * 32, *large.dataset.image_shape), dtype=np.uint8)
  noise = ArraySplit(images, rng.integers(50, size=len(images)).astype(np.int32))
  train = load(small.dataset).train
  assert isinstance(train, ArraySplit)
  return [
    Case(
      "`digits`", short(small, epochs=40), train.select(np.arange(len(train)), train.labels % 7)
    ),
    Case("`cifar100_resnet32_b`, noise images", short(large, epochs=1, batch_size=32), noise),
  ]


def short(config: Config, **changes: Any) -> Config:
  """The configuration with stages of one length, saved at their end."""

  def stage(name: str) -> Any:
    return dataclasses.replace(
      config.stage(name), **changes, schedule="constant", warmup_epochs=0, step_epochs=()
    )

  every = changes["epochs"]
  return dataclasses.replace(
    config,
    stages=dataclasses.replace(config.stages, main=stage("main"), edge=stage("edge")),
    logging=dataclasses.replace(config.logging, checkpoint_every_epochs=every, keep=1),
  )


def _loop_row(case: Case, repeats: int) -> str:
  bare = BareStep(case, stages.MAIN)
  settings = case.config.stages.main
  steps = settings.epochs * (len(case.split) // settings.batch_size)
  bare.seconds(steps)
  loop_seconds(case)  # fills the cache
  rounds = [(loop_seconds(case), bare.seconds(steps)) for _ in range(repeats)]
  ratios = sorted(loop / bare for loop, bare in rounds)
  times = [1e3 * statistics.median(column) for column in zip(*rounds, strict=True)]
  return (
    f"| {case.name} | {settings.batch_size} | {steps} | {times[0]:.2f} | {times[1]:.2f} | "
    f"{', '.join(f'{ratio:.3f}' for ratio in ratios)} | **{statistics.median(ratios):.3f}** |"
  )


def loop_seconds(case: Case) -> float:
  """Seconds per step of the main stage's loop, by its own clock."""
  config = case.config
  model = build(config, AXIS)
  variables = init_variables(model, config.seed, config.dataset.image_shape, BLOCKS)
  few = case.split.select(np.arange(config.evaluation.batch_size), case.split.labels[:128])
  with tempfile.TemporaryDirectory() as directory:
    run = RunDirectory.create(directory, config)
    images = StageImages(case.split, few)
    context = RunContext(config, model, Dataset(case.name, (), case.split, few, few), run)
    train_stage(stages.MAIN, context, variables, images)
    lines = MetricsFile(run.timing_path).read()
  ends = [1, *(line["step"] for line in lines)]  # the first step compiles, and is not timed
  timed = sum(
    line["step_seconds"] * (end - begin)
    for line, begin, end in zip(lines, ends[:-1], ends[1:], strict=True)
  )
  return timed / (ends[-1] - 1)


def _stage_row(case: Case, repeats: int) -> list[str]:
  bare = {stage.name: BareStep(case, stage) for stage in (stages.MAIN, stages.EDGE)}
  steps = case.config.stages.main.epochs * (len(case.split) // case.config.stages.main.batch_size)
  for step in bare.values():
    step.seconds(max(steps // 4, 1))
  rounds = [{n: b.seconds(steps) for n, b in bare.items()} for _ in range(repeats)]
  times = {name: statistics.median(row[name] for row in rounds) for name in bare}
  flops = {name: step.flops for name, step in bare.items()}
  theory = {name: 2.0 * macs for name, macs in _theory(case.config).items()}
  rows = [
    f"| {case.name} | {name} | {1e3 * times[name]:.2f} | {flops[name] / 1e6:.2f} | "
    f"{theory[name] / 1e6:.2f} | {flops[name] / theory[name]:.2f} |"
    for name in bare
  ]
  ratios = [f"{v['edge'] / v['main']:.2f}" for v in (times, flops, theory)]
  return [*rows, f"| | edge / main | {' | '.join(ratios)} | |"]


def _theory(config: Config) -> dict[str, int]:
  """Multiply-accumulates of one image's training step."""
  functions = block_functions(build(config), config.dataset.image_shape)
  macs = {name: count_macs(function, *args) for name, (function, args) in functions.items()}
  height, width, channels = config.dataset.image_shape

  def stem(features: int) -> int:
    return height * width * 9 * channels * features

  return {
    "main": 3 * macs["main"] - stem(config.model.main.structure.stem_width or 16),
    "edge": macs["main"]
    + 3 * macs["adaptive"]
    - stem(config.model.adaptive.stem_width)
    + 3 * macs["extension"],
  }


if __name__ == "__main__":
  sys.exit(run_script(__doc__, add_flags, run))
