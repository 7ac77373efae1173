"""Early exit per image on a device's runtime; writes benchmarks/edge_latency.md.

Command: python -m benchmarks.edge_latency [--workdir runs/digits] [--workdir runs/another]
"""

import argparse
import dataclasses
import os
import runpy
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.digits_run import DIGITS, run_directory
from benchmarks.measured_on import measured_on
from meanet_jax.commands.app import run_script
from meanet_jax.commands.flags import Parser, add_integer, add_path
from meanet_jax.config.parsing import resolve
from meanet_jax.config.ranges import Range
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.edge.classifier import EdgeClassifier
from meanet_jax.files import write_text
from meanet_jax.routing.operating_point import OperatingPoint
from meanet_jax.routing.policies import Policy, fixed_thresholds
from meanet_jax.routing.rules import offloads_early, offloads_late, predicted_hard, takes_extension
from meanet_jax.routing.scores import Scores
from meanet_jax.tflite.export import Options, export
from meanet_jax.tflite.signatures import edge_signatures
from meanet_jax.tflite.source import Source, from_run, untrained
from meanet_jax.tflite.versions import PINNED, check_versions

ROOT = Path(__file__).parent.parent


class Case(NamedTuple):
  """One line of the table: what is exported, n uint8 images [n, h, w, c], an operating point."""

  name: str
  source: Source
  images: np.ndarray
  point: OperatingPoint


def run_case(workdir: str, data_dir: str | None) -> Case:
  """A trained edge at the operating point of its evaluation, on its test split."""
  source = from_run(run_directory(workdir), ReadOptions(data_dir))
  assert source.dataset is not None
  name = f"`{source.config.dataset.name}`, trained"
  return Case(name, source, source.dataset.test.images, source.operating_point)


def resnet32_cases(shares: tuple[float, ...], count: int, directory: Path) -> Iterator[Case]:
  """Initial weights on noise: the `hard` threshold lies where the wanted share is above it."""
  config = resolve(runpy.run_path(str(ROOT / "configs/cifar100_resnet32_b.py"))["get_config"]())
  source = untrained(config, cloud=False)
  images = np.random.default_rng(0).integers(256, size=(count, *config.dataset.image_shape))
  images = images.astype(np.uint8)
  export(source, directory, Options())
  mass = np.sort(EdgeClassifier(directory).outputs(images)["main"]["hard_probability"])
  for share in shares:
    at = round((1 - share) * len(mass))
    limit = np.float32((mass[at - 1] + mass[at]) / 2)  # midway: rounding moves no image across
    yield Case(
      f"`cifar100_resnet32_b`, untrained, share set to {share:.0%}",
      source,
      images,
      dataclasses.replace(
        source.operating_point,
        policy=Policy(hard_rule="probability", offload="never"),
        thresholds=fixed_thresholds(hard=limit),
      ),
    )


def jax_edge(case: Case) -> tuple[Callable[[], Any], Callable[[], Any]]:
  """The same in jitted JAX, image by image: with early exit, and both blocks in one program."""
  main, extension = (s.function for s in edge_signatures(case.source, 1, "uint8"))
  run_main, run_extension = jax.jit(main), jax.jit(extension)

  @jax.jit
  def run_both(image: Any) -> Any:
    first = main(image)
    return first, extension(image, first["features"])

  policy, thresholds = case.point.policy, case.point.thresholds
  hard = case.point.hard_classes.mask

  def scalars(outputs: Any) -> Scores:
    return Scores(*(np.asarray(outputs[name])[0] for name in Scores._fields[:4]))

  def decide(image: np.ndarray, both: bool) -> Any:
    first, second = run_both(image) if both else (run_main(image), None)
    scores, mass = scalars(first), np.asarray(first["hard_probability"])[0]
    needed = predicted_hard(policy, thresholds, scores, mass, hard)
    needed &= ~offloads_early(policy, thresholds, scores)
    of_extension = scores
    if needed or both:
      of_extension = scalars(second or run_extension(image, first["features"]))
    taken = takes_extension(policy, scores, of_extension, needed)
    complex = offloads_late(policy, thresholds, scores, of_extension, taken)
    return (of_extension if taken else scores).prediction, complex

  rows = range(len(case.images))
  return (
    lambda: [decide(case.images[row : row + 1], False) for row in rows],
    lambda: [decide(case.images[row : row + 1], True) for row in rows],
  )


def contenders(case: Case, directory: Path) -> dict[str, Callable[[], Any]]:
  """What is timed, each over all images, one by one: both forms of the edge, its parts, JAX."""
  # Complex images leave for a cloud that costs nothing here: what is timed is the edge.
  options = {"operating_point": case.point, "cloud": lambda _: 0}
  early = EdgeClassifier(directory, **options)
  always = EdgeClassifier(directory, skip=False, **options)
  images = [case.images[row : row + 1] for row in range(len(case.images))]
  features = [early.outputs(image)["main"]["features"] for image in images]
  main, extension = early.signatures
  jax_early, jax_always = jax_edge(case)
  return {
    "always": lambda: always.classify(case.images),
    "early": lambda: early.classify(case.images),
    "main": lambda: [main(image=image) for image in images],
    "extension": lambda: [
      extension(image=image, features=of) for image, of in zip(images, features, strict=True)
    ],
    "jax_early": jax_early,
    "jax_always": jax_always,
  }


def measure(case: Case, runs: int) -> str:
  """The case's line of the table."""
  with tempfile.TemporaryDirectory() as directory:
    export(case.source, directory, Options())
    functions = contenders(case, Path(directory))
    for function in functions.values():
      function()  # compiles, and fills caches
    answers = functions["early"]()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(runs):
      for name, function in functions.items():
        begun = time.perf_counter()
        function()
        seconds[name].append(time.perf_counter() - begun)
  count = len(case.images)
  share = sum(answer.extension is not None for answer in answers) / count
  middle = {name: statistics.median(values) / count for name, values in seconds.items()}
  reached = middle["always"] / middle["early"]
  allowed = (middle["main"] + middle["extension"]) / (middle["main"] + share * middle["extension"])
  each = [a / b for a, b in zip(seconds["always"], seconds["early"], strict=True)]
  cells = [
    case.name,
    str(count),
    f"{share:.3f}",
    *(f"{1e6 * middle[name]:.1f}" for name in ("main", "extension", "always", "early")),
    f"{reached:.2f} ({min(each):.2f} to {max(each):.2f})",
    f"{allowed:.2f}",
    f"**{reached / allowed:.2f}**",
    f"{1e6 * middle['jax_always']:.1f}",
    f"{1e6 * middle['jax_early']:.1f}",
    f"{middle['jax_early'] / middle['early']:.1f}",
  ]
  return f"| {' | '.join(cells)} |"


def add_flags(parser: Parser) -> None:
  """The benchmark's flags."""
  add_path(parser, "--data-dir", help="where prepared data sets lie")
  add_path(
    parser,
    "--workdir",
    action="append",
    help="a run, on its test split; runs/digits by default, made when it is missing",
  )
  add_integer(parser, "--runs", Range(5), default=15, help="timed passes of everything, in turn")
  add_integer(
    parser,
    "--images",
    Range(1),
    default=100,
    help="made-up images for ResNet-32, each on its own",
  )


def run(given: argparse.Namespace) -> None:
  """Measures every case and writes the table."""
  check_versions()
  if hasattr(os, "sched_setaffinity"):  # JAX too gets one core
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
  lines = [
    "# Early exit on the edge runtime",
    "",
    "`EdgeClassifier` on float32 exports, LiteRT with one thread, batch 1, image by image: medians "
    f"of {given.runs} interleaved passes over all images, in microseconds per image. Made by "
    "`python -m benchmarks.edge_latency`.",
    "",
    "| network | images | share s that needs the extension | t_main | t_ext | both always | "
    "early exit | speed-up (range of passes) | allowed | reached / allowed | JAX, both always | "
    "JAX, early exit | JAX / LiteRT, early exit |",
    "|" + "---|" * 13,
  ]
  with tempfile.TemporaryDirectory() as directory:
    cases = [
      *(run_case(workdir, given.data_dir) for workdir in given.workdir or [DIGITS]),
      *resnet32_cases((0.25, 0.5), given.images, Path(directory)),
    ]
  for case in cases:
    lines.append(measure(case, given.runs))
    print(lines[-1], flush=True)
  lines += [
    "",
    "t_main and t_ext (adaptive and extension block) are calls of the two signatures alone in the "
    "same passes, without the rules' time on the host. Allowed: (t_main + t_ext) / "
    "(t_main + s t_ext). The target is 0.95 of it. Both always runs the same rules after both "
    "signatures. Trained runs are at their evaluation's operating point; an image that goes to "
    "the cloud costs what the edge does before that. ResNet-32: initial weights and noise images, "
    "with the hard threshold set so that the share is as stated. JAX: the same functions jitted, "
    "one call per image, the same rules; the whole process is bound to one core.",
    "",
    "It is bound to one core, and makes about 1 of the load; the rest is other programs.",
    *measured_on(*PINNED),
  ]
  write_text(Path(__file__).with_suffix(".md"), "\n".join(lines))


if __name__ == "__main__":
  sys.exit(run_script(__doc__, add_flags, run))
