"""Size, latency and accuracy of every quantisation; prints the table of docs/export.md.

Command: python -m benchmarks.quantisation [--workdir runs/digits] [--workdir runs/another]
"""

import argparse
import runpy
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np

from benchmarks.measured_on import measured_on
from meanet_jax.commands.app import run_script
from meanet_jax.commands.flags import Parser, add_integer, add_path
from meanet_jax.config.parsing import resolve
from meanet_jax.config.ranges import Range
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.edge.classifier import EdgeClassifier
from meanet_jax.edge.manifest import EDGE
from meanet_jax.tflite.export import Options, export
from meanet_jax.tflite.quantize import Quantize
from meanet_jax.tflite.source import Source, from_run, untrained
from meanet_jax.tflite.verify import compare
from meanet_jax.tflite.versions import PINNED, check_versions

ROOT = Path(__file__).parent.parent
UNTRAINED = (
  "cifar100_resnet32_a",
  "cifar100_resnet32_b",
  "imagenet_resnet18_b",
  "imagenet_mobilenet_v2_b",
)


class Passes(NamedTuple):
  """Timed passes. repeats: how many. images: that each times, one by one."""

  repeats: int
  images: int


def milliseconds(call: Callable[[], Any], images: int, passes: int) -> float:
  """Per image, the median of the passes."""
  call()
  seconds = []
  for _ in range(passes):
    begun = time.perf_counter()
    call()
    seconds.append(time.perf_counter() - begun)
  return 1e3 * statistics.median(seconds) / images


def accuracies(source: Source, directory: str, edge: EdgeClassifier) -> tuple[str, str, str]:
  """Of the edge's own answers; with the cloud's; and decisions that are float32 JAX's. Percent."""
  if source.dataset is None:
    return "-", "-", "-"
  test = source.dataset.test
  answers = np.array([answer.prediction for answer in edge.classify(test.images)])
  found = compare(source, directory, test)
  shares = (
    np.mean(answers == test.labels),
    np.mean(found.predictions[1] == found.labels),
    np.mean(~found.differs),
  )
  alone, with_cloud, same = (f"{100 * share:.2f}" for share in shares)
  return alone, with_cloud, same


def row(name: str, source: Source, quantize: Quantize, passes: Passes) -> str:
  """One line of the table."""
  shape = source.config.dataset.image_shape
  images = np.random.default_rng(0).integers(256, size=(passes.images, *shape)).astype(np.uint8)
  if source.dataset is not None:
    images = source.dataset.test.images[: passes.images]
  with tempfile.TemporaryDirectory() as directory:
    manifest = export(source, directory, Options(quantize))
    edge = EdgeClassifier(directory)
    main, extension = edge.signatures
    single = [image[None] for image in images]
    features = [main(image=image)["features"] for image in single]
    pairs = list(zip(single, features, strict=True))
    times = [
      milliseconds(call, passes.images, passes.repeats)
      for call in (
        lambda: [main(image=image) for image in single],
        lambda: [extension(image=i, features=f) for i, f in pairs],
      )
    ]
    cells = [
      name,
      quantize,
      f"{manifest.files[EDGE].bytes / 1e3:,.0f}",
      *(f"{time:.3f}" for time in times),
      *accuracies(source, directory, edge),
    ]
  return f"| {' | '.join(cells)} |"


def add_flags(parser: Parser) -> None:
  """The benchmark's flags."""
  add_path(parser, "--data-dir", help="where prepared data sets lie")
  add_path(
    parser, "--workdir", action="append", help="evaluated runs, repeatable; runs/digits by default"
  )
  add_integer(parser, "--passes", Range(5), default=9, help="timed passes over the images")
  add_integer(
    parser, "--images", Range(1), default=20, help="images that each pass times, one by one"
  )


def run(given: argparse.Namespace) -> None:
  """Measures and prints."""
  passes = Passes(given.passes, given.images)
  check_versions()
  print(
    "| network | quantisation | edge.tflite [kB] | main [ms] | extension [ms] | accuracy, edge "
    "alone [%] | with the cloud [%] | decisions of float32 JAX [%] |"
  )
  print("|" + "---|" * 8)
  for workdir in given.workdir or ["runs/digits"]:
    source = from_run(workdir, ReadOptions(given.data_dir))
    for quantize in get_args(Quantize):
      print(row(f"`{source.config.dataset.name}`, trained", source, quantize, passes), flush=True)
  for name in UNTRAINED:
    config = resolve(runpy.run_path(str(ROOT / f"configs/{name}.py"))["get_config"]())
    source = untrained(config, cloud=False)
    for quantize in get_args(Quantize):
      print(row(f"`{name}`, untrained", source, quantize, passes), flush=True)
  print("", "LiteRT uses one core.", *measured_on(*PINNED), sep="\n")


if __name__ == "__main__":
  sys.exit(run_script(__doc__, add_flags, run))
