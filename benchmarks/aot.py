"""Counts what the paper's configurations take on TPU slices; writes benchmarks/aot.md.

Command: python -m benchmarks.aot

Every stage's mapped step is compiled by the TPU's own compiler (extra `tpu`), on a machine that
needs no TPU. That takes minutes each, so what is counted is kept in `--kept`, and a stopped
benchmark goes on. Nothing is timed: the counts depend on the versions alone.
"""

import argparse
import dataclasses
import functools
import importlib
import importlib.metadata
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks.plain_resnet18 import lower_plain_step
from meanet_jax.commands.app import run_script
from meanet_jax.commands.flags import Parser, add_path
from meanet_jax.config.parsing import resolve
from meanet_jax.config.schema import Config
from meanet_jax.data.batches import left_for_device
from meanet_jax.data.known_sizes import training_images
from meanet_jax.files import write_text
from meanet_jax.models.meanet import MEANet, Outputs
from meanet_jax.models.variables import abstract_variables, by_collection
from meanet_jax.models.zoo import build
from meanet_jax.planning.compile import (
  StepCost,
  abstract_inputs,
  compile_lowered,
  compile_step,
  cost,
)
from meanet_jax.planning.roofline import roofline
from meanet_jax.planning.topology import open_slice
from meanet_jax.runs.environment import environment
from meanet_jax.training import stages
from meanet_jax.training.optimizers import make_optimizer
from meanet_jax.training.parallel import ACROSS_DEVICES, AXIS, fetch
from meanet_jax.training.state import create_state
from meanet_jax.training.steps import Recipe, make_train_step

CONFIGS = (
  "imagenet_resnet18_b",
  "cifar100_resnet32_a",
  "cifar100_resnet32_b",
  "imagenet_mobilenet_v2_b",
)
SLICES = ("v5e:2x2", "v5e:4x8")
STAGES = {"main": stages.MAIN, "edge": stages.EDGE, "cloud": stages.CLOUD}
RESNET18 = CONFIGS[0]


class Work(NamedTuple):
  """One compilation. part: a stage, `plain` (the reference), `features` or `own_blocks`."""

  config: str
  slice: str
  part: str
  dtype: str = "float32"


def experiment(work: Work) -> Config:
  """The configuration, under the dtype."""
  config = resolve(importlib.import_module(f"configs.{work.config}").get_config())
  return dataclasses.replace(
    config, model=dataclasses.replace(config.model, compute_dtype=work.dtype)
  )


def batch_size(work: Work) -> int:
  """Of all chips: the stage's own, or that of the stage that the part belongs to."""
  stage = {"plain": "main", "features": "edge", "own_blocks": "edge"}.get(work.part, work.part)
  return experiment(work).stage(stage).batch_size


class Counted(NamedTuple):
  """accessed: bytes by the compiler's count, of one chip."""

  step: StepCost
  accessed: float


def count(work: Work) -> Counted:
  """Compiles and counts."""
  compiled = compile_work(work)
  return Counted(cost(compiled), compiled.cost_analysis()["bytes accessed"])


def compile_work(work: Work) -> jax.stages.Compiled:
  """For a slice that need not exist."""
  config, (_, devices) = experiment(work), open_slice(work.slice)
  images = training_images(config.dataset, None)
  if work.part == "plain":
    return compile_lowered(lower_plain_step(config, config.stages.main.batch_size, devices))
  if work.part in ("features", "own_blocks"):
    lower = lower_features if work.part == "features" else lower_own_blocks
    return compile_lowered(lower(config, config.stages.edge.batch_size, devices))
  stage = STAGES[work.part]
  if stage.images == "hard":
    images = images.hard(config.num_hard, config.dataset.num_classes)
  return compile_step(stage, config, images, batch_size(work), devices)


def sharded(devices: Sequence[Any], batch: int, *shape: int) -> tuple[int, ...]:
  """The shape of a batch split over devices."""
  return (len(devices), batch // len(devices), *shape)


def lower_features(config: Config, batch: int, devices: Sequence[Any]) -> jax.stages.Lowered:
  """Forward(main): from normalised images to the features that the extension sees."""
  model, shape = build(config, AXIS), config.dataset.image_shape

  def forward(variables: Any, images: Any) -> Any:
    return model.apply(by_collection(variables), images, method="main_features")

  main = {"main": abstract_variables(model, shape)["main"]}
  images = jax.ShapeDtypeStruct(sharded(devices, batch, *shape), jnp.float32)
  return jax.pmap(forward, AXIS, in_axes=(None, 0), devices=devices).lower(main, images)


class _Given:
  """A MEANet without its main block, whose features are given."""

  synchronised = True

  def __init__(self, model: MEANet, features: Any):
    self._model, self._features = model, features

  def apply(self, variables: Any, images: Any, exits: Any, train: Any, **options: Any) -> Any:
    del exits
    run = functools.partial(self._model.apply, method="extend", **options)
    logits, updates = run(variables, images, self._features, "extension" in train)
    return Outputs(None, logits, None), updates


def lower_own_blocks(config: Config, batch: int, devices: Sequence[Any]) -> jax.stages.Lowered:
  """The edge stage's step with main's features as an input."""
  model, shape, settings = build(config, AXIS), config.dataset.image_shape, config.stages.edge
  every = abstract_variables(model, shape)
  variables = {block: every[block] for block in ("adaptive", "extension")}
  images = training_images(config.dataset, None).hard(config.num_hard, config.dataset.num_classes)
  if images.streamed:
    settings = dataclasses.replace(settings, augment=left_for_device(settings.augment))
  tx = make_optimizer(settings, 100)
  state = jax.eval_shape(lambda v: create_state(stages.EDGE, v, tx), variables)

  def step(state: Any, store: Any, batch: Any, features: Any, key: Any) -> Any:
    given: Any = _Given(model, features)
    inner = make_train_step(
      given, stages.EDGE, Recipe(settings, tx), config.dataset, ACROSS_DEVICES
    )
    return inner(state, fetch(store, batch, state.step), key)

  features = jax.eval_shape(
    lambda v, x: model.apply(by_collection(v), x, method="main_features"),
    every,
    jax.ShapeDtypeStruct((1, *shape), jnp.float32),
  )
  given = jax.ShapeDtypeStruct(sharded(devices, batch, *features.shape[1:]), features.dtype)
  store, numbers = abstract_inputs(images, shape, (len(devices), batch // len(devices)))
  key = jax.eval_shape(lambda: jax.random.key(0))
  axes = (None, None, 0, 0, None)
  mapped = jax.pmap(step, AXIS, in_axes=axes, out_axes=None, donate_argnums=(0,), devices=devices)
  return mapped.lower(state, store, numbers, given, key)


def works() -> list[Work]:
  """Everything that is compiled, what the issue's figures need first."""
  first = [
    Work(RESNET18, name, part)
    for name in SLICES
    for part in ("main", "plain", "edge", "features", "own_blocks")
  ]
  half = [Work(RESNET18, SLICES[0], part, "bfloat16") for part in ("main", "plain")]
  edges = [
    Work(config, SLICES[0], part)
    for config in CONFIGS[1:]
    for part in ("edge", "features", "own_blocks")
  ]
  rest = [Work(config, name, part) for name in SLICES for part in STAGES for config in CONFIGS]
  return list(dict.fromkeys([*first, *half, *edges, *rest]))


def per_image(work: Work, of_one_chip: float) -> float:
  """Flops or bytes per image, from those of a step of one chip."""
  return len(open_slice(work.slice)[1]) * of_one_chip / batch_size(work)


def stage_rows(counted: dict[Work, Counted]) -> list[str]:
  """The table of all stages."""
  lines = [
    "| configuration | slice | stage | batch | Gflop/image | MB/image | memory of a chip [GiB] | "
    "arithmetic allows [images/s] | memory allows [images/s] | bound by |",
    "|---|---|---|---|---|---|---|---|---|---|",
  ]
  for work in (Work(c, s, p) for c in CONFIGS for s in SLICES for p in STAGES):
    start = f"| `{work.config}` | `{work.slice}` | `{work.part}` | {batch_size(work)} |"
    if work not in counted:
      lines.append(f"{start} not compiled | | | | | |")
      continue
    step, (chip, devices) = counted[work].step, open_slice(work.slice)
    flops, moved = (per_image(work, total) for total in (step.flops, step.bytes))
    limits = roofline(chip, len(devices), flops, moved)
    lines.append(
      f"{start} {flops / 1e9:.3f} | {moved / 1e6:.1f} | "
      f"{step.memory / 2**30:.2f} of {chip.memory_bytes / 2**30:.0f} | {limits.compute:,.0f} | "
      f"{limits.memory:,.0f} | {limits.bound} |"
    )
  return lines


def traffic(counted: dict[Work, Counted], work: Work) -> float | None:
  """MB per image between chips and their memory, of what has been compiled."""
  return per_image(work, counted[work].step.bytes) / 1e6 if work in counted else None


def accessed(counted: dict[Work, Counted], work: Work) -> float | None:
  """MB per image by the compiler's count, of what has been compiled."""
  return per_image(work, counted[work].accessed) / 1e6 if work in counted else None


def compared(title: str, parts: list[float | None], ours: float | None) -> str:
  """A row: our MB per image, those of other programs, and ours as a share of their sum."""
  if ours is None or None in parts:
    return f"| {title} | not compiled |" + " |" * (len(parts) + 1)
  allowed = sum(part for part in parts if part is not None)
  each = " | ".join(f"{part:.1f}" for part in parts)
  return f"| {title} | {ours:.1f} | {each} | {ours / allowed:.3f} |"


def page(counted: dict[Work, Counted]) -> str:
  """Markdown of all that has been compiled."""
  counts = (("memory", traffic), ("the compiler's count", accessed))
  plain = [
    compared(
      f"`{name}` | {dtype} | {what}",
      [moved(counted, Work(RESNET18, name, "plain", dtype))],
      moved(counted, Work(RESNET18, name, "main", dtype)),
    )
    for what, moved in counts
    for name, dtype in ((SLICES[0], "float32"), (SLICES[1], "float32"), (SLICES[0], "bfloat16"))
  ]
  edge = [
    compared(
      f"`{config}` | `{name}` | {what}",
      [moved(counted, Work(config, name, part)) for part in ("features", "own_blocks")],
      moved(counted, Work(config, name, "edge")),
    )
    for what, moved in counts
    for config in CONFIGS
    for name in (SLICES if config == RESNET18 else SLICES[:1])
  ]
  chip, _ = open_slice(SLICES[0])
  here = environment()["packages"]
  return "\n".join(
    [
      "# The paper's configurations on TPU slices",
      "",
      "Every stage's mapped training step, compiled for a slice by the TPU's own compiler and "
      "counted; nothing was run. Made by `python -m benchmarks.aot`. Flops are the compiler's "
      "count of one chip's program; bytes are what it moves between a chip and its memory: a fused "
      "operation reads an operand once, of a set that images are gathered from only those images, "
      "and what stays in on-chip memory is free (`meanet_jax/planning/hbm_traffic.py`). "
      "The arithmetic "
      f"limit is {chip.flops_per_second / 1e12:.0f} Tflop/s a chip in bfloat16, which float32 "
      "convolutions reach as well at JAX's default precision; the memory limit is "
      f"{chip.bytes_per_second / 1e9:.0f} GB/s ({chip.source}). What crosses chips is in neither. "
      "Float32 and batch sizes as configured; batch sizes are of all chips.",
      "",
      *stage_rows(counted),
      "",
      "## Against a ResNet-18 written the ordinary way",
      "",
      "`benchmarks/plain_resnet18.py`: Flax's own modules, the same batch, augmentation, batch "
      "norm over all chips and SGD. MB per image, between chips and their memory as above, and by "
      "the compiler's count, which takes a value once for each instruction that reads it, fused or "
      "not: our step reports the gradient's norm, computed where the optimiser's update reads the "
      "gradient anyway.",
      "",
      "| slice | dtype | what | our main stage | plain | ours / plain |",
      "|---|---|---|---|---|---|",
      *plain,
      "",
      "## The edge stage against its parts",
      "",
      "Compiled alone: the main block's forward pass, which writes its features, and the step of "
      "adaptive and extension block, which reads them. MB per image, counted in the same two ways:",
      "",
      "| configuration | slice | what | edge stage | forward(main) | own blocks | edge / (sum) |",
      "|---|---|---|---|---|---|---|",
      *edge,
      "",
      f"jax {here['jax']}, jaxlib {here['jaxlib']}, flax {here['flax']}, "
      f"libtpu {importlib.metadata.version('libtpu')}.",
      "",
    ]
  )


def add_flags(parser: Parser) -> None:
  """The benchmark's flags."""
  add_path(parser, "--kept", default="runs/aot.json", help="where counts are kept between two runs")


def run(given: argparse.Namespace) -> None:
  """Compiles what is not kept yet, and writes the page after each."""
  path = Path(given.kept)
  path.parent.mkdir(parents=True, exist_ok=True)
  kept = json.loads(path.read_text()) if path.exists() else []
  counted = {Work(*work): Counted(StepCost(**step), read) for work, step, read in kept}
  for work in works():
    if work not in counted:
      print(" ".join(work), flush=True)
      counted[work] = count(work)
      rows = [(work, dataclasses.asdict(step), read) for work, (step, read) in counted.items()]
      write_text(path, json.dumps(rows))
    write_text(Path(__file__).with_suffix(".md"), page(counted))


if __name__ == "__main__":
  sys.exit(run_script(__doc__, add_flags, run))
