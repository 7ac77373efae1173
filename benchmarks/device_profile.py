"""A device profile's predictions beside measured times; writes benchmarks/device_profile.md.

Command: python -m benchmarks.device_profile [--config digits] [--rounds 5] [--images 300]

This machine is the device, with one thread, and also runs a server that answers at once. Each round
measures a profile, as `meanet measure` does, and then streams noise through the same export at
three operating points, one image at a time.
"""

import argparse
import dataclasses
import datetime
import runpy
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.link_transport import PORT, process
from benchmarks.measured_on import measured_on
from meanet_jax.commands.app import run_script
from meanet_jax.commands.flags import Parser, add_integer, add_path
from meanet_jax.config.parsing import resolve
from meanet_jax.config.ranges import Range
from meanet_jax.cost.device import DeviceProfile
from meanet_jax.cost.energy import BlockMacs, CostModel, Shares
from meanet_jax.edge.classifier import EdgeClassifier
from meanet_jax.edge.inputs import Item
from meanet_jax.edge.link.connection import Address, Expected
from meanet_jax.edge.link.encoding import Encoding
from meanet_jax.edge.link.offload import Offloader, RetryPolicy
from meanet_jax.edge.manifest import EDGE
from meanet_jax.edge.measure import idle_energy, measure_edge, measure_link, open_classifier
from meanet_jax.edge.results import Result
from meanet_jax.edge.stream import Stream
from meanet_jax.files import write_text
from meanet_jax.protocol import classes_digest
from meanet_jax.routing.operating_point import OperatingPoint
from meanet_jax.routing.policies import Policy, Thresholds
from meanet_jax.tflite.export import Options, export
from meanet_jax.tflite.source import untrained
from meanet_jax.tflite.versions import PINNED, check_versions

ROOT = Path(__file__).parent.parent
CONFIGS = ("digits", "fashion_mnist", "cifar100_resnet32_a", "cifar100_resnet32_b")
# The server's: of the network only the image is of interest.
_CLASSES = tuple("0123456789")
_SERVER = """
import sys
from tests.edge.oip_server import oip_server
with oip_server({port}) as server:
  print("ready", flush=True)
  sys.stdin.read()
"""
# Shares of images whose extension runs, and that are sent afterwards or without it.
POINTS = ((0.25, 0.0), (0.5, 0.1), (0.75, 0.4))
MEAN_LIMIT, P95_LIMIT = 0.10, 0.20


class Latency(NamedTuple):
  """Milliseconds per image."""

  mean: float
  p95: float


class Outcome(NamedTuple):
  """One operating point in one round.

  after_sent: milliseconds that an image takes longer when the one before it was sent, of images
  that the extension answers; NaN where there is none.
  """

  shares: Shares
  predicted: Latency
  measured: Latency
  after_sent: float


def at_shares(directory: Path, images: np.ndarray, extended: float, sent: float) -> OperatingPoint:
  """The operating point at which these shares of the images run the extension and are sent."""
  classifier = EdgeClassifier(directory)
  outputs = classifier.outputs(images)
  mass = outputs["main"]["hard_probability"]
  runs = np.float32(np.quantile(mass, 1 - extended))
  ran = mass > runs
  unsure = 1 - np.where(ran, outputs["extension"]["max_prob"], outputs["main"]["max_prob"])
  limit = np.float32(np.quantile(unsure, 1 - sent)) if sent else np.float32(2)
  return dataclasses.replace(
    classifier.operating_point,
    policy=Policy("probability", "extension", "late", "max_prob"),
    thresholds=Thresholds(limit, limit, runs),
    fusion=None,
  )


def new_offloader(shape: tuple[int, int, int]) -> Offloader:
  """To the server on this machine, one image at a time."""
  expected = Expected(shape, len(_CLASSES), classes_digest(_CLASSES), Encoding())
  return Offloader(Address(f"127.0.0.1:{PORT}"), expected, 1, RetryPolicy(deadline=60.0))


def measured_profile(directory: Path, images: np.ndarray, offloader: Offloader) -> DeviceProfile:
  """The profile of this machine."""
  classifier = open_classifier(str(directory), 1)
  energy = idle_energy(None, 0.0)
  edge = measure_edge(classifier, images, energy)
  link = measure_link(offloader, classifier, images, energy)
  return DeviceProfile(
    "here",
    "benchmark",
    datetime.date.today().isoformat(),
    edge.main,
    edge.extension,
    link.upload,
    link.idle,
  )


def streamed(classifier: EdgeClassifier, images: np.ndarray, offloader: Offloader) -> list[Result]:
  """The answers of images that each wait for the one before."""
  results: list[Result] = []
  stream = Stream(classifier, results.append, offloader)
  for number, image in enumerate(images):
    stream.run([Item(number, image)])
  return results


def outcomes(directory: Path, images: np.ndarray, rounds: int) -> Iterator[list[Outcome]]:
  """Of every round, one for each of `POINTS`."""
  edges = [
    EdgeClassifier(directory, operating_point=at_shares(directory, images, *shares))
    for shares in POINTS
  ]
  manifest = edges[0].manifest
  signatures = manifest.files[EDGE].signatures
  macs = BlockMacs(signatures["main"].macs, signatures["extension"].macs, 0)
  offloader = new_offloader(manifest.image_shape)
  try:
    for _ in range(rounds):
      profile = measured_profile(directory, images, offloader)
      found = []
      for edge in edges:
        streamed(edge, images[:20], offloader)
        results = streamed(edge, images, offloader)
        ran = np.array([result.answer.extension is not None for result in results])
        sent = np.array([result.reply is not None for result in results])
        assert all(result.fallback is None for result in results)
        shares = Shares(1.0, ran.mean(), sent.mean(), (ran & sent).mean())
        cost = CostModel(manifest.cost, macs, 0, profile).of(shares)
        ms = 1e3 * np.array([result.seconds for result in results])
        found.append(
          Outcome(
            shares,
            Latency(float(cost.latency_ms), float(cost.latency_p95_ms)),
            Latency(float(ms.mean()), float(np.quantile(ms, 0.95, method="inverted_cdf"))),
            _longer_after(ms, ran & ~sent, sent),
          )
        )
      yield found
  finally:
    offloader.close()


def _longer_after(ms: np.ndarray, answered: np.ndarray, sent: np.ndarray) -> float:
  after = np.concatenate([[False], sent[:-1]])
  found = [ms[answered & rows] for rows in (after, ~after)]
  return float(found[0].mean() - found[1].mean()) if all(map(len, found)) else float("nan")


def lines_of(name: str, rounds: list[list[Outcome]]) -> list[str]:
  """A network's lines of the table: medians over the rounds."""
  lines = []
  for point in zip(*rounds, strict=True):
    cells = [f"`{name}`", f"{point[0].shares.extension:.2f}", f"{point[0].shares.sent:.2f}"]
    for field, limit in (("mean", MEAN_LIMIT), ("p95", P95_LIMIT)):
      predicted = statistics.median(getattr(one.predicted, field) for one in point)
      measured = [getattr(one.measured, field) for one in point]
      ratios = [getattr(one.predicted, field) / getattr(one.measured, field) for one in point]
      ratio = predicted / statistics.median(measured)
      verdict = "yes" if abs(ratio - 1) <= limit else "**no**"
      cells += [
        f"{predicted:.3f}",
        f"{statistics.median(measured):.3f} ({min(measured):.3f} to {max(measured):.3f})",
        f"{ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        verdict,
      ]
    longer = statistics.median(one.after_sent for one in point)
    cells.append("-" if longer != longer else f"{longer:.3f}")
    lines.append(f"| {' | '.join(cells)} |")
    print(lines[-1], flush=True)
  return lines


def measure(name: str, count: int, rounds: int) -> list[str]:
  """A network's lines of the table."""
  config = resolve(runpy.run_path(str(ROOT / f"configs/{name}.py"))["get_config"]())
  shape = config.dataset.image_shape
  images = np.random.default_rng(0).integers(256, size=(count, *shape), dtype=np.uint8)
  with tempfile.TemporaryDirectory() as directory:
    export(untrained(config, cloud=False), directory, Options())
    return lines_of(name, list(outcomes(Path(directory), images, rounds)))


def add_flags(parser: Parser) -> None:
  """The benchmark's flags."""
  parser.add_argument(
    "--config",
    action="append",
    metavar="NAME",
    help="configurations whose networks are exported with initial weights, repeatable; "
    f"{', '.join(CONFIGS)} if not given",
  )
  add_integer(parser, "--rounds", Range(1), default=5, help="of which medians are taken")
  add_integer(parser, "--images", Range(100), default=300, help="of each measurement")
  add_path(parser, "--output", default="benchmarks/device_profile.md", help="the page")


def run(given: argparse.Namespace) -> None:
  """Measures every network and writes the table."""
  check_versions()
  lines = [
    "# A device profile's predictions beside measured times",
    "",
    "This machine as the device: `meanet measure`'s blocks (main, extension, upload, idle), the "
    "cost model's mean and 0.95 quantile from them, and what a stream of the same images took, one "
    f"image at a time, in ms per image. Medians of {given.rounds} rounds of {given.images} "
    "images, in each of which the profile is measured first; in brackets the range over rounds. "
    "Networks have initial weights and one LiteRT thread; the cloud is a server on the same "
    "machine that answers at once. Made by `python -m benchmarks.device_profile`.",
    "",
    "| network | share extended | share sent | mean, predicted | mean, measured | ratio | "
    f"within {MEAN_LIMIT:.0%} | p95, predicted | p95, measured | ratio | within {P95_LIMIT:.0%} | "
    "longer after a sent one |",
    "|" + "---|" * 12,
  ]
  with process(sys.executable, "-c", _SERVER.format(port=PORT), until="ready"):
    for name in given.config or CONFIGS:
      lines += measure(name, given.images, given.rounds)
  lines += [
    "",
    "The last column: how much longer an image takes that the extension answers, when the image "
    "before it was sent. While the device waits for an answer its caches and clock cool down, and "
    "a link that was idle for many images takes longer than one that was used just before; a "
    "profile's blocks, each measured by itself, do not hold that. It is about a tenth of a "
    "millisecond for a sent image, so it shows where a network takes less than that, and is lost "
    "in larger ones.",
    "",
    "Other programs on the same cores make times longer between the profile and the stream, or the "
    "reverse.",
    *measured_on(*PINNED),
  ]
  write_text(Path(given.output), "\n".join(lines))


if __name__ == "__main__":
  sys.exit(run_script(__doc__, add_flags, run))
