"""Prediction with early exit against all of the edge on every image; writes early_exit.md.

Command: python -m benchmarks.early_exit [--workdir runs/digits]
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.digits_run import DIGITS, run_directory
from benchmarks.measured_on import measured_on
from configs import cifar100_resnet32_b
from meanet_jax.commands.app import run_script
from meanet_jax.commands.flags import Parser, add_integer, add_path
from meanet_jax.config.parsing import resolve
from meanet_jax.config.ranges import Range
from meanet_jax.config.schema import Config
from meanet_jax.data.augment import normalise
from meanet_jax.data.padding import padded_batches
from meanet_jax.data.sources import load
from meanet_jax.evaluation.predictor import Networks, Predictor
from meanet_jax.evaluation.records import make_records
from meanet_jax.evaluation.systems import route_selected
from meanet_jax.files import write_text
from meanet_jax.models.meanet import Exits
from meanet_jax.models.variables import by_collection, init_variables
from meanet_jax.models.zoo import build
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.operating_point import OperatingPoint, Temperatures
from meanet_jax.routing.policies import Policy, Thresholds, configured_policy
from meanet_jax.routing.scores import hard_probability
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.selection.baselines import edge_only
from meanet_jax.training.restore import load_hard_classes, load_variables
from meanet_jax.training.steps import make_forward

EDGE = Exits.MAIN | Exits.EXTENSION


def add_flags(parser: Parser) -> None:
  """The benchmark's flags."""
  add_path(
    parser,
    "--workdir",
    default=DIGITS,
    help="a run of configs/digits.py; runs/digits is made when it is missing",
  )
  add_integer(parser, "--runs", Range(5), default=7, help="timed runs of everything, interleaved")
  add_integer(
    parser, "--passes", Range(1), default=8, help="the digits test split is repeated so many times"
  )
  add_integer(parser, "--images", Range(128), default=1000, help="made-up images for ResNet-32")


class Case(NamedTuple):
  """One line of the table: networks, n uint8 images [n, h, w, c] and an operating point."""

  name: str
  networks: Networks
  images: np.ndarray
  point: OperatingPoint
  batch_size: int


def digits_case(workdir: str, passes: int) -> Case:
  """The trained edge on its test split, at the share that the main block predicts hard."""
  run = RunDirectory.existing(run_directory(workdir))
  config = run.config()
  model, dataset = build(config), load(config.dataset)
  return Case(
    "`digits`, trained",
    _edge(Networks(model, load_variables(config, model, dataset, run), config.dataset)),
    np.tile(dataset.test.images, (passes, 1, 1, 1)),
    OperatingPoint(
      edge_only(configured_policy(config.routing)),
      Thresholds(np.nan, np.nan, config.routing.hard_threshold),
      Temperatures(),
      load_hard_classes(config, run),
    ),
    config.evaluation.batch_size,
  )


def untrained_cases(
  name: str, config: Config, shares: tuple[float, ...], count: int
) -> Iterator[Case]:
  """Fresh weights on noise: the `hard` threshold lies where the wanted share is above it."""
  batch_size = config.evaluation.batch_size
  model = build(config)
  shape = config.dataset.image_shape
  variables = init_variables(model, 0, shape, ("main", "adaptive", "extension"))
  rng = np.random.default_rng(0)
  images = rng.integers(256, size=(count, *shape)).astype(np.uint8)
  hard_classes = HardClasses(np.arange(config.num_hard), config.dataset.num_classes)
  forward = jax.jit(make_forward(model, Exits.MAIN, config.dataset))
  logits = [
    np.asarray(forward(variables, batch).main)[:real]
    for batch, real in padded_batches(images, batch_size)
  ]
  mass = np.sort(hard_probability(np.concatenate(logits), hard_classes.mask))
  for share in shares:
    at = round((1 - share) * len(mass))
    # Midway, so that rounding moves no image across.
    limit = np.float32((mass[at - 1] + mass[at]) / 2)
    yield Case(
      f"{name}, untrained, share set to {share:.0%}",
      Networks(model, variables, config.dataset),
      images,
      OperatingPoint(
        Policy(hard_rule="probability", offload="never"),
        Thresholds(np.nan, np.nan, limit),
        Temperatures(),
        hard_classes,
      ),
      batch_size,
    )


def _edge(networks: Networks) -> Networks:
  """The networks without a cloud."""
  variables = {block: v for block, v in networks.variables.items() if block != "cloud"}
  return networks._replace(variables=variables)


def fetched_late(
  images: np.ndarray, batch_size: int, run: Callable[[np.ndarray], Any]
) -> Iterator[Any]:
  """Results of a program on all images, as NumPy, fetched one batch late like `predict` does."""
  pending: Any = None
  for batch, real in padded_batches(images, batch_size):
    started = (run(batch), real)
    if pending is not None:
      yield jax.tree.map(lambda x, real=pending[1]: np.asarray(x)[:real], pending[0])
    pending = started
  yield jax.tree.map(lambda x: np.asarray(x)[: pending[1]], pending[0])


def contenders(case: Case) -> dict[str, Callable[[], Any]]:
  """What is timed, each over all images: both forms of the edge, and its two parts alone."""
  model, dataset = case.networks.model, case.networks.dataset
  batch_size, point = case.batch_size, case.point
  variables = jax.device_put(case.networks.variables)
  everything = jax.jit(make_forward(model, EDGE, dataset))
  main = jax.jit(make_forward(model, Exits.MAIN, dataset))

  @jax.jit
  def extension(variables: Any, images: Any, features: Any) -> Any:
    images = normalise(images, dataset.mean, dataset.std)
    return model.apply(by_collection(variables), images, features, method="extend")

  first = jax.device_put(next(padded_batches(case.images, batch_size))[0])
  features = model.apply(
    by_collection(variables), normalise(first, dataset.mean, dataset.std), method="main_features"
  )

  def run_everything() -> np.ndarray:
    predictions = []
    for logits in fetched_late(case.images, batch_size, lambda x: everything(variables, x)):
      # Main's logits stand for the cloud's: the policies send nothing.
      outputs, labels = logits._replace(cloud=logits.main), np.zeros(len(logits.main), np.int32)
      records = make_records(outputs, labels, point.hard_classes)
      predictions.append(route_selected(point, records).prediction)
    return np.concatenate(predictions)

  predictor = Predictor(case.networks, point, batch_size)
  return {
    "everything": run_everything,
    "early": lambda: predictor.predict(case.images),
    "main": lambda: list(fetched_late(case.images, batch_size, lambda x: main(variables, x))),
    "extension": lambda: list(
      fetched_late(case.images, batch_size, lambda _: extension(variables, first, features))
    ),
  }


class Measured(NamedTuple):
  """Of one case.

  share: of the images that need the extension. seconds: medians of one run over all images, by
  what was timed. reached, lowest, highest: everything over early exit, the median and its range.
  allowed: what the shares allow. differing: answers that are not those of everything.
  """

  share: float
  seconds: dict[str, float]
  reached: float
  lowest: float
  highest: float
  allowed: float
  differing: int


def measure(case: Case, runs: int) -> Measured:
  """Times so many runs of everything, interleaved, after one that compiles."""
  functions = contenders(case)
  expected, answers = functions["everything"](), functions["early"]()  # and everything compiles
  for name in ("main", "extension"):
    functions[name]()
  seconds: dict[str, list[float]] = {name: [] for name in functions}
  for _ in range(runs):
    for name, function in functions.items():
      begun = time.perf_counter()
      function()
      seconds[name].append(time.perf_counter() - begun)
  share = float(np.mean(answers.ran_extension))
  middle = {name: statistics.median(values) for name, values in seconds.items()}
  reached = middle["everything"] / middle["early"]
  allowed = (middle["main"] + middle["extension"]) / (middle["main"] + share * middle["extension"])
  each = [a / b for a, b in zip(seconds["everything"], seconds["early"], strict=True)]
  differing = int(np.sum(answers.classes != expected))
  return Measured(share, middle, reached, min(each), max(each), allowed, differing)


def row(case: Case, found: Measured) -> str:
  """The case's line of the table."""
  count, middle = len(case.images), found.seconds
  cells = [
    case.name,
    f"{count} / {case.batch_size}",
    f"{found.share:.3f}",
    f"{1e6 * middle['main'] / count:.1f}",
    f"{1e6 * middle['extension'] / count:.1f}",
    f"{count / middle['everything']:.0f}",
    f"{count / middle['early']:.0f}",
    f"{found.reached:.2f} ({found.lowest:.2f} to {found.highest:.2f})",
    f"{found.allowed:.2f}",
    f"**{found.reached / found.allowed:.2f}**",
    f"{found.differing}",
  ]
  return f"| {' | '.join(cells)} |"


def run(given: argparse.Namespace) -> None:
  """Measures every case and writes the table."""
  lines = [
    "# Early exit in a batch",
    "",
    "`Predictor.predict` against main, adaptive and extension block on every image followed by the "
    f"same rules, without a cloud: medians of {given.runs} interleaved runs over all "
    "images. Made by `python -m benchmarks.early_exit`.",
    "",
    "| network | images / batch | share s that needs the extension | t_main [µs/image] | "
    "t_ext [µs/image] | everything [images/s] | early exit [images/s] | speed-up (range of runs) | "
    "allowed | reached / allowed | answers that differ |",
    "|" + "---|" * 11,
  ]
  digits = digits_case(given.workdir, given.passes)
  resnet32 = resolve(cifar100_resnet32_b.get_config())
  cases = untrained_cases("`cifar100_resnet32_b`", resnet32, (0.25, 0.5), given.images)
  for case in (digits, *cases):
    lines.append(row(case, measure(case, given.runs)))
    print(lines[-1], flush=True)
  lines += [
    "",
    "t_main and t_ext (adaptive and extension block) are measured alone in the same rounds, "
    "without the rules' time on the host. Allowed: (t_main + t_ext) / (t_main + s t_ext). "
    "The target is 0.9 of it. Digits: the test split, repeated; s is what the trained main block "
    "predicts hard. ResNet-32: fresh weights and noise images, with the hard threshold set so that "
    "the share is as stated.",
    "",
    "The script makes about 2 of the load; the rest is other programs on the same cores.",
    *measured_on(),
  ]
  write_text(Path(__file__).with_suffix(".md"), "\n".join(lines))


if __name__ == "__main__":
  sys.exit(run_script(__doc__, add_flags, run))
