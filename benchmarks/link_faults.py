"""A dead cloud and one that comes back, against the edge alone; writes benchmarks/link_faults.md.

Command: python -m benchmarks.link_faults [--workdir runs/digits]
"""

import argparse
import dataclasses
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.digits_run import DIGITS, run_directory
from benchmarks.measured_on import measured_on
from meanet_jax.commands.app import run_script
from meanet_jax.commands.flags import Parser, add_integer, add_path
from meanet_jax.config.ranges import Range
from meanet_jax.edge.classifier import EdgeClassifier
from meanet_jax.edge.inputs import Item
from meanet_jax.edge.output import Output, to_line
from meanet_jax.edge.results import Result
from meanet_jax.edge.stream import Stream
from meanet_jax.files import write_text
from meanet_jax.routing.policies import Policy, Thresholds
from meanet_jax.tflite.export import Options, export
from meanet_jax.tflite.source import from_run
from tests.edge.links import offloader_to
from tests.edge.oip_server import oip_server

SHARE = 0.2  # of the images that the threshold sends


class Passes(NamedTuple):
  """Of each kind, in turn. repeats: how many. images: in each."""

  repeats: int
  images: int


def throughput(edge: EdgeClassifier, images: np.ndarray, count: int, offloader, out: str) -> float:
  """Images/s of a pass that writes its answers; a last offload is waited for."""
  items = (Item(number, images[number % len(images)]) for number in range(count))
  with Output(out) as output:
    stream = Stream(edge, lambda one: output.write(to_line(one, edge.manifest)), offloader)
    begun = time.perf_counter()
    stream.run(items)
    return count / (time.perf_counter() - begun)


def dead_cloud(
  edge: EdgeClassifier, images: np.ndarray, model: Path, passes: Passes
) -> tuple[list, list]:
  """Throughput of the edge alone, and with a dead cloud once the circuit is open, in turn."""
  with oip_server() as gone:
    port = gone.port
  alone, dead = [], []
  with tempfile.TemporaryDirectory() as directory:
    out = str(Path(directory) / "answers.jsonl")
    for _ in range(passes.repeats + 1):  # the first is for the caches
      alone.append(throughput(edge, images, passes.images, None, out))
      offloader = offloader_to(port, model)
      offloader.open_circuit()
      dead.append(throughput(edge, images, passes.images, offloader, out))
      offloader.close()
  return alone[1:], dead[1:]


def recovery(edge: EdgeClassifier, images: np.ndarray, model: Path) -> float:
  """Seconds from a server's listening again to the cloud's first answer, images going on."""
  with oip_server() as first:
    port = first.port
  offloader, began, answered = offloader_to(port, model), [], []
  offloader.open_circuit()

  def items():
    number = 0
    end = time.monotonic() + 3.0  # dead for a while, with failed attempts
    while time.monotonic() < end:
      yield Item(number, images[number % len(images)])
      number += 1
    with oip_server(port):
      began.append(time.monotonic())
      while not answered and time.monotonic() < began[0] + 60:
        yield Item(number, images[number % len(images)])
        number += 1

  def give(one: Result) -> None:
    if one.reply is not None and one.reply.answer is not None and not answered:
      answered.append(time.monotonic())

  try:
    Stream(edge, give, offloader).run(items())
  finally:
    offloader.close()
  return answered[0] - began[0]


def add_flags(parser: Parser) -> None:
  """The benchmark's flags."""
  add_path(parser, "--workdir", default=DIGITS, help="a run on digits; the default one is made")
  add_integer(parser, "--runs", Range(5), default=7, help="passes of each kind, in turn")
  add_integer(parser, "--images", Range(1000), default=20_000, help="per pass")


def run(given: argparse.Namespace) -> None:
  """Measures, and writes the page."""
  workdir = run_directory(given.workdir)
  with tempfile.TemporaryDirectory() as directory:
    model = Path(directory)
    source = from_run(workdir)
    export(source, model, Options())
    images = source.dataset.test.images
    entropy = [answer.main.entropy for answer in EdgeClassifier(model).classify(images)]
    limit = np.float32(np.quantile(entropy, 1 - SHARE))
    point = dataclasses.replace(
      source.operating_point, policy=Policy(), thresholds=Thresholds(limit, np.nan, np.nan)
    )
    edge = EdgeClassifier(model, operating_point=point)
    alone, dead = dead_cloud(edge, images, model, Passes(given.runs, given.images))
    back = [recovery(edge, images, model) for _ in range(5)]
  write_text(Path(__file__).with_suffix(".md"), page(given.images, alone, dead, back))


def page(images: int, alone: list[float], dead: list[float], back: list[float]) -> str:
  """The page of these figures."""
  ratios = [d / a for a, d in zip(alone, dead, strict=True)]
  text = "\n".join(
    [
      "# A cloud that is dead, and comes back",
      "",
      f"Digits' test images over and over, {images:,} a pass, JSON lines written; the "
      f"threshold sends {SHARE:.0%}. Medians of {len(alone)} passes of each kind, in turn. Made by "
      "`python -m benchmarks.link_faults`.",
      "",
      "| | |",
      "|---|---|",
      f"| edge alone [images/s] | {statistics.median(alone):,.0f} |",
      f"| dead cloud, circuit open [images/s] | {statistics.median(dead):,.0f} |",
      f"| dead / alone, pass by pass | **{statistics.median(ratios):.3f}** "
      f"({min(ratios):.3f} to {max(ratios):.3f}) |",
      f"| from a server's listening again to its first answer [s] | {statistics.median(back):.2f} "
      f"({min(back):.2f} to {max(back):.2f}) |",
      "",
      "The target is 0.9 of the edge alone, and recovery within seconds. While the circuit is open "
      "one image a second tries, and finds the port closed.",
      "",
      *measured_on("grpcio", "tritonclient", "pybreaker", "tenacity"),
    ]
  )
  print(text)
  return text


if __name__ == "__main__":
  sys.exit(run_script(__doc__, add_flags, run))
