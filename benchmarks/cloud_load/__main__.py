"""The cloud tier under load against the bare compiled model; writes benchmarks/cloud_load.md.

Command: python -m benchmarks.cloud_load

64 clients, each with a connection of its own, ask again as soon as they are answered. They are
h2load's (Debian's package nghttp2-client), on the same cores as the server: a client written in
Python takes as long for a request as a small network for its image, and what it takes is the
server's loss. A server without a model says what gRPC costs by itself.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.cloud_load.asking import Asking, Load, load
from benchmarks.cloud_load.servers import ROOT, cloud_tier, echo, untrained_run
from benchmarks.measured_on import measured_on
from meanet_jax.cloud.model import CloudModel, read_run
from meanet_jax.commands.app import run_script
from meanet_jax.commands.flags import Parser, add_integer, add_path
from meanet_jax.config.load import load_config
from meanet_jax.config.ranges import Range
from meanet_jax.config.schema import Config
from meanet_jax.errors import UserError
from meanet_jax.files import write_text
from meanet_jax.models.costs import block_macs
from meanet_jax.models.zoo import build

SIZES = (1, 2, 4, 8, 16, 32, 64)
BATCH = 32


class Case(NamedTuple):
  """max_batch: of the server, 1 for no batching. images: per request."""

  max_batch: int
  images: int


class Network(NamedTuple):
  """Whose cloud model, with initial weights. seconds: of a pass, in which many batches end."""

  config: str
  seconds: int
  cases: tuple[Case, ...]


NETWORKS = (
  Network("fashion_mnist", 5, (Case(BATCH, 1), Case(BATCH, 8), Case(1, 1))),
  Network("cifar100_resnet32_b", 30, (Case(BATCH, 1), Case(1, 1))),
)


def bare_rate(model: CloudModel, images: np.ndarray, seconds: float) -> float:
  """Images per second of the compiled model alone, on batches of all `images`."""
  begun, count = time.perf_counter(), 0
  while time.perf_counter() - begun < seconds:
    model(images)
    count += len(images)
  return count / (time.perf_counter() - begun)


def measure(network: Network, directory: Path, clients: int, rounds: int) -> list[str]:
  """A network's lines of the table."""
  config = load_config(str(ROOT / f"configs/{network.config}.py"))
  workdir, how = directory / network.config, Asking(clients, network.seconds, directory)
  untrained_run(config, workdir)
  images = noise(config, max(SIZES))
  model = CloudModel(read_run(workdir), SIZES[-1])
  bare: dict[int, list[float]] = {size: [] for size in SIZES}
  loads: dict[Case, list[Load]] = {case: [] for case in network.cases}
  empty: list[Load] = []
  with contextlib.ExitStack() as stack:
    servers = {
      max_batch: stack.enter_context(cloud_tier(workdir, max_batch))
      for max_batch in dict.fromkeys(case.max_batch for case in network.cases)
    }
    without_model = stack.enter_context(echo())
    for _ in range(rounds):
      for size in SIZES:
        bare[size].append(bare_rate(model, images[:size], network.seconds / len(SIZES)))
      for case, passes in loads.items():
        passes.append(load(servers[case.max_batch], images[: case.images], how))
      empty.append(load(without_model, images[:1], how))
      print(json.dumps([round(passes[-1].rate, 1) for passes in loads.values()]), flush=True)
  rates = {size: statistics.median(of) for size, of in bare.items()}
  best = max(rates, key=rates.__getitem__)
  macs = block_macs(build(config), config.dataset.image_shape).cloud
  start = f"| `{network.config}` | {macs / 1e6:.0f} | {rates[best]:.0f} ({best}) | {rates[1]:.0f} |"
  rows = [f"{start} {line(case, passes, bare[best])}" for case, passes in loads.items()]
  return [*rows, f"{start} {without_model_line(empty, bare[best])}"]


def noise(config: Config, count: int) -> np.ndarray:
  """Made-up images of a configuration's shape."""
  shape = (count, *config.dataset.image_shape)
  return np.random.default_rng(0).integers(256, size=shape).astype(np.uint8)


def line(case: Case, passes: Sequence[Load], bare: Sequence[float]) -> str:
  """The end of a row: medians over passes; latencies over all answers of all passes."""
  ratios = [one.rate / rate for one, rate in zip(passes, bare, strict=True)]
  batches = "1 (none)" if case.max_batch == 1 else f"at most {case.max_batch}"
  spread = f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f} to {max(ratios):.2f})"
  return f"{batches} | {case.images} | {_answers(passes, spread)}"


def without_model_line(passes: Sequence[Load], bare: Sequence[float]) -> str:
  """The end of the row of the server without a model, with what it leaves to any server with one.

  All cores together do per second one second of work each: an image costs the bare model
  cores / rate of it, and gRPC and its client take theirs from the same cores.
  """
  most = []
  for one, rate in zip(passes, bare, strict=True):
    own = (os.cpu_count() or 1) / rate
    most.append(own / (own + one.server_cpu + one.client_cpu))
  return f"no model | 1 | {_answers(passes, f'at most {statistics.median(most):.2f}')}"


def _answers(passes: Sequence[Load], ratio: str) -> str:
  rate, server_cpu, client_cpu = (
    statistics.median(values)
    for values in zip(*((one.rate, one.server_cpu, one.client_cpu) for one in passes), strict=True)
  )
  p50, p99 = np.percentile(np.concatenate([one.latencies for one in passes]), [50, 99]) * 1e3
  return (
    f"{rate:.0f} | {ratio} | {p50:.0f} | {p99:.0f} | "
    f"{server_cpu * 1e3:.2f} | {client_cpu * 1e3:.2f} |"
  )


def add_flags(parser: Parser) -> None:
  """The benchmark's flags."""
  add_integer(parser, "--rounds", Range(5), default=5, help="timed passes of everything, in turn")
  add_integer(parser, "--clients", Range(1), default=64, help="that ask at the same time")
  add_path(parser, "--output", default="benchmarks/cloud_load.md", help="the page")
  parser.add_argument(
    "--network",
    action="append",
    choices=[network.config for network in NETWORKS],
    help="a configuration to measure, repeatable; all if not given",
  )


def run(given: argparse.Namespace) -> None:
  """Measures and writes the page."""
  try:
    version = subprocess.run(["h2load", "--version"], capture_output=True, text=True, check=True)
  except FileNotFoundError as error:
    raise UserError("h2load is not installed; accepted: apt install nghttp2-client") from error
  networks = [one for one in NETWORKS if not given.network or one.config in given.network]
  load_of = (given.clients, given.rounds)
  with tempfile.TemporaryDirectory() as directory:
    rows = [row for network in networks for row in measure(network, Path(directory), *load_of)]
  command = " ".join(
    ["python -m benchmarks.cloud_load", *(f"--network {name}" for name in given.network or ())]
  )
  lines = [
    "# The cloud tier under load",
    "",
    f"{given.clients} clients (h2load) over gRPC on loopback, each asking again as soon as it is "
    f"answered, beside the server; medians of {given.rounds} rounds of "
    f"{' and '.join(f'{network.seconds} s' for network in networks)} for each network, "
    f"everything in turn. Made by `{command}`.",
    "",
    "| cloud model, initial weights | MMAC / image | bare model [images/s] (best batch) "
    "| bare, batch 1 | server's batches | images / request | server [images/s] "
    "| server / bare (range of rounds) | p50 [ms] | p99 [ms] | server CPU [ms/image] "
    "| clients CPU [ms/image] |",
    "|---" * 12 + "|",
    *rows,
    "",
    "The target is 0.8 of the bare model. The bare model has all cores to itself and is fed from "
    "memory; server and clients share them. So the ratio can at best be what the protocol and the "
    "clients leave: CPU time per image is listed for both. The last row of a network is a server "
    "of the same library that answers at once without a model (`benchmarks/cloud_load/echo.py`); "
    "its ratio is the most that its CPU time and that of its clients leave to one with the model, "
    "asked for one image at a time.",
    "",
    f"The script makes about {os.cpu_count()} of the load; the rest is other programs on the same "
    f"cores. {version.stdout.strip()}.",
    *measured_on("tritonclient", "grpcio"),
  ]
  write_text(ROOT / given.output, "\n".join(lines))


if __name__ == "__main__":
  sys.exit(run_script(__doc__, add_flags, run))
