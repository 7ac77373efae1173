"""Times both ways in which images reach a training step; writes benchmarks/input_pipeline.md.

Command: python -m benchmarks.input_pipeline
"""

import argparse
import dataclasses
import io
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from benchmarks.measured_on import measured_on
from configs import cifar100_resnet32_b, imagenet_resnet18_b
from meanet_jax.commands.app import run_script
from meanet_jax.commands.flags import Parser, add_integer
from meanet_jax.config.parsing import resolve
from meanet_jax.config.ranges import Range
from meanet_jax.config.schema import Config
from meanet_jax.config.stages import AugmentConfig
from meanet_jax.data.augment import augment
from meanet_jax.data.batches import Batches, Order
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.data.shared_memory import BATCHES_PER_WORKER
from meanet_jax.data.sources import load
from meanet_jax.data.splits import ArraySplit
from meanet_jax.files import write_text
from meanet_jax.models.variables import init_variables
from meanet_jax.models.zoo import build
from meanet_jax.training import stages
from meanet_jax.training.optimizers import make_optimizer
from meanet_jax.training.parallel import (
  ACROSS_DEVICES,
  AXIS,
  ahead,
  fetch,
  map_train_step,
  replicate,
)
from meanet_jax.training.state import create_state
from meanet_jax.training.steps import Recipe, make_train_step, stage_key
from tests.data.sets import write_set

IN_MEMORY_IMAGES = 45_000
PAIRS = 15  # of a step with input and one without, one after the other
QUALITY = 90  # gives about the 110 kB that ImageNet's images have on average
WORKERS = os.cpu_count() or 1


def seconds(work: Callable[[], Any]) -> float:
  """How long `work` and the devices take over it."""
  begun = time.perf_counter()
  jax.block_until_ready(work())
  return time.perf_counter() - begun


class StreamSize(NamedTuple):
  """jpegs: files. batch: images. rounds: batches timed together. repeats: of both kinds."""

  jpegs: int = 384
  batch: int = 32
  rounds: int = 60
  repeats: int = 5


class Streamed(NamedTuple):
  """Images/s through records, decoding, cropping and transport, and of decoding alone.

  jpeg_bytes: of a file, on average.
  """

  streamed: float
  decoded: float
  jpeg_bytes: float


def add_flags(parser: Parser) -> None:
  """The benchmark's flags."""
  add_integer(parser, "--repeats", Range(5), default=5, help="measurements of each kind")


def run(given: argparse.Namespace) -> None:
  """Measures both paths and writes the page."""
  lines = [
    "# Input",
    "",
    f"Medians of {given.repeats} measurements, the kinds in turn, unless said otherwise. "
    "Made by `python -m benchmarks.input_pipeline`.",
    "",
    *in_memory(given.repeats),
    "",
    *streaming(StreamSize(repeats=given.repeats)),
    "",
    *measured_on(),
  ]
  text = "\n".join(lines)
  write_text(Path(__file__).with_suffix(".md"), text)
  print(text)


def in_memory(repeats: int) -> list[str]:
  """CIFAR-100's size and ResNet-32's step: with input, and on one batch that never changes."""
  config = resolve(cifar100_resnet32_b.get_config())
  rng = np.random.default_rng(0)
  size = (IN_MEMORY_IMAGES, *config.dataset.image_shape)
  labels = rng.integers(config.dataset.num_classes, size=size[0]).astype(np.int32)
  split = ArraySplit(rng.integers(256, size=size, dtype=np.uint8), labels)
  settings = config.stages.main
  batches = split.training_batches(
    Order(len(split), 0, "main", settings.batch_size), settings.augment
  )
  mapped, state, key = _step(config, stages.MAIN, batches.augment)
  bare, bare_state, _ = _step(config, stages.MAIN, AugmentConfig())
  store = replicate(batches.resident())
  first = next(batches.stream(0, 1))
  still = fetch(jax.device_put(batches.resident()), first, 0)
  still = jax.tree.map(lambda x: x.reshape(jax.local_device_count(), -1, *x.shape[1:]), still)
  stream = ahead(batches.stream(0, 10**6))
  states = {"with": state, "without": bare_state}

  def with_input() -> Any:
    states["with"], sums = mapped(states["with"], store, next(stream), key)
    return sums

  def without_input() -> Any:
    states["without"], sums = bare(states["without"], {}, still, key)
    return sums

  @jax.jit
  def alone(store: Any, batch: Any) -> Any:
    found = fetch(store, batch, 0)
    return augment(found["image"], found["position"], jax.random.key(0), settings.augment)

  resident = jax.device_put(batches.resident())
  source = split.images[: settings.batch_size]
  pairs = _pairs(with_input, without_input)
  work = {"alone": lambda: alone(resident, first), "memcpy": lambda: source.copy()}
  times = _medians(work, repeats)
  step = statistics.median(without for _, without in pairs)
  longer = [with_ / without - 1 for with_, without in pairs]
  low, cost, high = np.quantile(longer, (0.25, 0.5, 0.75))
  batch = settings.batch_size
  return [
    "## In memory",
    "",
    f"{IN_MEMORY_IMAGES:,} images of 32x32x3 on the device, batch {batch}; ResNet-32's main stage. "
    "Input is image numbers to the device, gathering, pad-crop and flip. Steps with and without it "
    f"are timed in {PAIRS} pairs, one of each, the first of a pair in turn.",
    "",
    "| what | ms a batch | images/s |",
    "|---|---|---|",
    _row("training step on a batch that lies still", step, batch),
    _row("training step with input", statistics.median(with_ for with_, _ in pairs), batch),
    _row("input alone", times["alone"], batch),
    _row("limit: memcpy of the batch's pixels", times["memcpy"], batch),
    "",
    f"A step with input takes {100 * cost:+.1f}% longer than the other of its pair (median; "
    f"quartiles {100 * low:+.1f}% and {100 * high:+.1f}%). Alone, input takes "
    f"{100 * times['alone'] / step:.2f}% of a step's time (target: at most 3%).",
  ]


def measure_streaming(config: Config, size: StreamSize) -> Streamed:
  """JPEGs of ImageNet's usual size, through record files, decoding, cropping and transport."""
  with tempfile.TemporaryDirectory() as root:
    jpegs = [_jpeg(i) for i in range(size.jpegs)]
    images = size.rounds * size.batch
    made = [(jpeg, i % 10) for i, jpeg in enumerate(jpegs)]
    names = [str(c) for c in range(10)]
    write_set(Path(root), "photographs", {"train": made, "test": made[: size.batch]}, classes=names)
    dataset = dataclasses.replace(
      config.dataset,
      name="photographs",
      num_classes=10,
      test_split="test",
      in_memory_mb=0,
      validation_fraction=0.1,
    )
    train = load(dataset, ReadOptions(root, WORKERS)).train
    order = Order(len(train), 0, "edge", size.batch)
    batches = train.training_batches(order, config.stages.edge.augment)
    # The limit's processes hold the JPEGs already: it is decoding and nothing else.
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(WORKERS, initializer=_hold, initargs=(jpegs,)) as pool:
      pool.map(_decode, range(4 * WORKERS))

      def pillow() -> None:
        for _ in pool.imap_unordered(_decode, range(images), max(size.batch // 4, 1)):
          pass

      # Never at the same time: the workers of a stream work ahead while nobody asks.
      rows = [(_streamed(batches, size.rounds), seconds(pillow)) for _ in range(size.repeats)]
    streamed, decoded = (statistics.median(column) for column in zip(*rows, strict=True))
  return Streamed(images / streamed, images / decoded, statistics.mean(map(len, jpegs)))


def streaming(size: StreamSize) -> list[str]:
  """The page's part about streaming."""
  config = resolve(imagenet_resnet18_b.get_config())
  found = measure_streaming(config, size)
  step = _edge_step(config, size)
  return [
    "## Streaming",
    "",
    f"{size.jpegs} made-up JPEGs of 500x375 pixels and {found.jpeg_bytes / 1e3:.0f} kB, "
    f"random crops resized to 224x224, batches of {size.batch}, {WORKERS} worker processes. The "
    "limit is Pillow decoding the same JPEGs in as many processes, keeping nothing.",
    "",
    "| what | images/s |",
    "|---|---|",
    f"| records, decoding, cropping, transport | {found.streamed:,.0f} |",
    f"| limit: Pillow decoding alone | {found.decoded:,.0f} |",
    f"| demand: ResNet-18's edge stage on this machine, alone | {size.batch / step:,.1f} |",
    "",
    f"Streaming reaches {found.streamed / found.decoded:.2f} of the limit (target: 0.85).",
  ]


def _streamed(batches: Batches, rounds: int) -> float:
  """Seconds of so many batches in a steady state: after the start, beyond what was made ahead."""
  stream = batches.stream(0, 10**6)
  for _ in range(4 * WORKERS * BATCHES_PER_WORKER):
    next(stream)
  time_taken = seconds(lambda: [next(stream)["label"] for _ in range(rounds)])
  stream.close()
  return time_taken


def _step(config: Config, stage: stages.Stage, augment: AugmentConfig) -> tuple[Any, Any, Any]:
  """The mapped step of a stage, its first state, and its key."""
  settings = dataclasses.replace(config.stage(stage.name), augment=augment)
  model = build(config, AXIS)
  tx = make_optimizer(settings, 1000)
  blocks = ("main", "adaptive", "extension")
  variables = init_variables(model, 0, config.dataset.image_shape, blocks)
  state = replicate(create_state(stage, variables, tx))
  step = make_train_step(model, stage, Recipe(settings, tx), config.dataset, ACROSS_DEVICES)
  return map_train_step(step), state, replicate(stage_key(0, stage.name))


def _edge_step(config: Config, size: StreamSize) -> float:
  """Seconds of one edge step on images that lie still."""
  mapped, state, key = _step(config, stages.EDGE, AugmentConfig(flip=True))
  shape = (jax.local_device_count(), size.batch // jax.local_device_count())
  batch = {
    "image": jnp.zeros((*shape, *config.dataset.image_shape), jnp.uint8),
    "label": jnp.zeros(shape, jnp.int32),
    "position": jnp.arange(size.batch, dtype=jnp.int32).reshape(shape),
  }
  held = [state]

  def step() -> Any:
    held[0], sums = mapped(held[0], {}, batch, key)
    return sums

  return _medians({"step": step}, size.repeats)["step"]


def _pairs(first: Callable[[], Any], second: Callable[[], Any]) -> list[tuple[float, float]]:
  """Seconds of both, called in turns after one call each that compiles."""
  seconds(first)
  seconds(second)
  pairs = []
  for number in range(PAIRS):
    if number % 2:
      later = seconds(second)
      pairs.append((seconds(first), later))
    else:
      pairs.append((seconds(first), seconds(second)))
  return pairs


def _medians(work: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
  """Median seconds of each, measured in turn, after one call that compiles."""
  for call in work.values():
    seconds(call)
  times = [{name: seconds(call) for name, call in work.items()} for _ in range(repeats)]
  return {name: statistics.median(row[name] for row in times) for name in work}


def _jpeg(number: int) -> bytes:
  buffer = io.BytesIO()
  Image.fromarray(_photograph(number)).save(buffer, "JPEG", quality=QUALITY)
  return buffer.getvalue()


def _photograph(number: int) -> np.ndarray:
  """Noise of every scale, as photographs have it, 375x500x3."""
  rng = np.random.default_rng(number)
  total = np.zeros((375, 500, 3), np.float32)
  for side in (3, 6, 12, 24, 48, 96, 192):
    small = rng.integers(256, size=(side, side, 3), dtype=np.uint8)
    large = Image.fromarray(small).resize((500, 375), Image.Resampling.BICUBIC)
    total += (np.asarray(large, np.float32) - 127.5) * (3 / side) ** 0.1
  return np.clip(total * 0.8 + 127.5, 0, 255).astype(np.uint8)


_held: list[bytes] = []  # of one of the limit's processes


def _hold(jpegs: list[bytes]) -> None:
  _held.extend(jpegs)


def _decode(number: int) -> int:
  with Image.open(io.BytesIO(_held[number % len(_held)])) as image:
    return np.asarray(image.convert("RGB")).shape[0]


def _row(what: str, time: float, batch: int) -> str:
  return f"| {what} | {1e3 * time:,.3f} | {batch / time:,.0f} |"


if __name__ == "__main__":
  sys.exit(run_script(__doc__, add_flags, run))
