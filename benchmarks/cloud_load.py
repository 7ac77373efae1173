"""The cloud tier under load against the bare compiled model; writes benchmarks/cloud_load.md.

Command: python -m benchmarks.cloud_load

64 clients, each with a connection of its own, ask again as soon as they are answered. They are
h2load's (Debian's package nghttp2-client), on the same cores as the server: a client written in
Python takes as long for a request as a small network for its image, and what it takes is the
server's loss.
"""

import argparse
import contextlib
import json
import os
import re
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
from tritonclient.grpc import service_pb2 as protocol

from benchmarks.measured_on import measured_on
from meanet_jax.cloud.model import CloudModel, read_run
from meanet_jax.commands.app import run_script
from meanet_jax.commands.flags import Parser, add_integer, add_path
from meanet_jax.config.parsing import resolve
from meanet_jax.config.ranges import Range
from meanet_jax.config.schema import Config
from meanet_jax.errors import UserError
from meanet_jax.models.costs import block_macs
from meanet_jax.models.variables import init_variables
from meanet_jax.models.zoo import build
from meanet_jax.protocol import CLASS, IMAGE, MODEL, PROBABILITY
from meanet_jax.runs.checkpoints import open_checkpoints
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.runs.files import write_text
from meanet_jax.training import stages
from meanet_jax.training.optimizers import make_optimizer
from meanet_jax.training.state import create_state, saved

ROOT = Path(__file__).parent.parent
SIZES = (1, 2, 4, 8, 16, 32, 64)
BATCH = 32
METHOD = "inference.GRPCInferenceService/ModelInfer"


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


class Load(NamedTuple):
  """One pass: images per second; seconds of each request; CPU seconds of the server per image."""

  rate: float
  latencies: np.ndarray
  server_cpu: float
  client_cpu: float


def untrained_run(config: Config, workdir: Path) -> None:
  """A run whose cloud has finished with initial weights, after no step: it had no images."""
  run = RunDirectory.create(workdir, config)
  names = [str(number) for number in range(config.dataset.num_classes)]
  run.record_data({"class_names": names, "splits": {"train": {"num_examples": 0}}})
  model = build(config)
  variables = init_variables(model, config.seed, config.dataset.image_shape, ("cloud",))
  state = create_state(
    stages.CLOUD, variables, make_optimizer(config.stages.cloud, steps_per_epoch=1)
  )
  with open_checkpoints(run.checkpoints_path("cloud"), keep=1) as checkpoints:
    checkpoints.save(0, saved(state))


def noise(config: Config, count: int) -> np.ndarray:
  """Made-up images of a configuration's shape."""
  shape = (count, *config.dataset.image_shape)
  return np.random.default_rng(0).integers(256, size=shape).astype(np.uint8)


def bare_rate(model: CloudModel, images: np.ndarray, seconds: float) -> float:
  """Images per second of the compiled model alone, on batches of all `images`."""
  begun, count = time.perf_counter(), 0
  while time.perf_counter() - begun < seconds:
    model(images)
    count += len(images)
  return count / (time.perf_counter() - begun)


class Server(NamedTuple):
  """A cloud tier that runs. address: HOST:PORT. metrics: URL."""

  address: str
  metrics: str
  process: psutil.Process

  def counts(self) -> dict[str, float]:
    """What it tells Prometheus of itself: images answered, requests refused."""
    with urllib.request.urlopen(self.metrics) as answer:
      lines = answer.read().decode().splitlines()
    pairs = [line.rsplit(" ", 1) for line in lines if line.startswith("cloud_")]
    return {name: float(value) for name, value in pairs}


@contextlib.contextmanager
def server(workdir: Path, max_batch: int) -> Iterator[Server]:
  """The cloud tier as a user starts it."""
  arguments = [
    f"--workdir={workdir}",
    f"--max_batch={max_batch}",
    "--grpc_port=0",
    "--metrics_port=0",
  ]
  process = subprocess.Popen(
    [sys.executable, "-m", "meanet_jax", "cloud", *arguments],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    text=True,
  )
  try:
    assert process.stdout is not None
    output, found = "", None
    for line in process.stdout:
      output += line
      if found := re.search(r"metrics at (\S+)(?s:.*)cloud tier ready: grpc://(\S+)", output):
        break
    assert found, f"the server did not start: {output}"
    yield Server(found[2], found[1], psutil.Process(process.pid))
  finally:
    process.terminate()
    process.wait()
    process.stdout.close()


def message(images: np.ndarray) -> bytes:
  """A request as a device sends it (`edge/link/messages.py`), in gRPC's frame."""
  request = protocol.ModelInferRequest(model_name=MODEL, id="1")
  request.inputs.add(name=IMAGE, datatype="UINT8", shape=images.shape)
  request.raw_input_contents.append(images.tobytes())
  for name in (CLASS, PROBABILITY):
    request.outputs.add(name=name)
  body = request.SerializeToString()
  return b"\0" + len(body).to_bytes(4, "big") + body


def load(asked: Server, images: np.ndarray, clients: int, seconds: int, directory: Path) -> Load:
  """One pass of all clients, every request with the same `images`.

  h2load does not look into answers. gRPC's errors are answers without an image, which the server's
  own counts would show.
  """
  body, log = directory / "request", directory / "answers"
  body.write_bytes(message(images))
  log.unlink(missing_ok=True)
  before, cpu = asked.counts(), sum(asked.process.cpu_times()[:2])
  asking = psutil.Popen(
    [
      "h2load",
      f"--clients={clients}",
      f"--duration={seconds}",
      "--warm-up-time=2",
      f"--data={body}",
      f"--log-file={log}",
      "--header=content-type: application/grpc",
      "--header=te: trailers",
      f"http://{asked.address}/{METHOD}",
    ],
    stdout=subprocess.DEVNULL,
  )
  _, _, usage = os.wait4(asking.pid, 0)
  cpu = sum(asked.process.cpu_times()[:2]) - cpu
  after = asked.counts()
  rows = np.loadtxt(log, dtype=np.int64, ndmin=2)  # begun [us], HTTP status, took [us]
  answered = after["cloud_images_total"] - before["cloud_images_total"]
  assert (rows[:, 1] == 200).all()
  assert answered >= len(rows) * len(images), "answers without images"
  assert not [name for name in after if name.startswith("cloud_refused_total") and after[name]]
  return Load(
    len(rows) * len(images) / seconds,
    rows[:, 2] / 1e6,
    cpu / answered,
    (usage.ru_utime + usage.ru_stime) / answered,
  )


def measure(network: Network, directory: Path, clients: int, rounds: int) -> list[str]:
  """A network's lines of the table."""
  config = resolve(runpy.run_path(str(ROOT / f"configs/{network.config}.py"))["get_config"]())
  workdir = directory / network.config
  untrained_run(config, workdir)
  images = noise(config, max(SIZES))
  model = CloudModel(read_run(workdir), SIZES[-1])
  bare: dict[int, list[float]] = {size: [] for size in SIZES}
  loads: dict[Case, list[Load]] = {case: [] for case in network.cases}
  with contextlib.ExitStack() as stack:
    servers = {
      max_batch: stack.enter_context(server(workdir, max_batch))
      for max_batch in dict.fromkeys(case.max_batch for case in network.cases)
    }
    for _ in range(rounds):
      for size in SIZES:
        bare[size].append(bare_rate(model, images[:size], network.seconds / len(SIZES)))
      for case, passes in loads.items():
        asked, sent = servers[case.max_batch], images[: case.images]
        passes.append(load(asked, sent, clients, network.seconds, directory))
      print(json.dumps([round(passes[-1].rate, 1) for passes in loads.values()]), flush=True)
  rates = {size: statistics.median(of) for size, of in bare.items()}
  best = max(rates, key=rates.__getitem__)
  start = (
    f"| `{network.config}` | {block_macs(build(config), config).cloud / 1e6:.0f} | "
    f"{rates[best]:.0f} ({best}) | {rates[1]:.0f} |"
  )
  return [f"{start} {line(case, passes, bare[best])}" for case, passes in loads.items()]


def line(case: Case, passes: list[Load], bare: list[float]) -> str:
  """The end of a row: medians over passes; latencies over all answers of all passes."""
  ratios = [one.rate / rate for one, rate in zip(passes, bare, strict=True)]
  rate, server_cpu, client_cpu = (
    statistics.median(values)
    for values in zip(*((one.rate, one.server_cpu, one.client_cpu) for one in passes), strict=True)
  )
  p50, p99 = np.percentile(np.concatenate([one.latencies for one in passes]), [50, 99]) * 1e3
  batches = "1 (none)" if case.max_batch == 1 else f"at most {case.max_batch}"
  return (
    f"{batches} | {case.images} | {rate:.0f} | "
    f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f} to {max(ratios):.2f}) | "
    f"{p50:.0f} | {p99:.0f} | {server_cpu * 1e3:.2f} | {client_cpu * 1e3:.2f} |"
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
    told = subprocess.run(["h2load", "--version"], capture_output=True, text=True, check=True)
  except FileNotFoundError as error:
    raise UserError("h2load is not installed; accepted: apt install nghttp2-client") from error
  networks = [one for one in NETWORKS if not given.network or one.config in given.network]
  load_of = (given.clients, given.rounds)
  with tempfile.TemporaryDirectory() as directory:
    rows = [row for network in networks for row in measure(network, Path(directory), *load_of)]
  lines = [
    "# The cloud tier under load",
    "",
    f"{given.clients} clients (h2load) over gRPC on loopback, each asking again as soon as it is "
    f"answered, beside the server; medians of {given.rounds} rounds of "
    f"{' and '.join(f'{network.seconds} s' for network in networks)} for each network, "
    "everything in turn. Made by `python -m benchmarks.cloud_load`.",
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
    "clients leave: CPU time per image is listed for both.",
    "",
    f"The script makes about {os.cpu_count()} of the load; the rest is other programs on the same "
    f"cores. {told.stdout.strip()}.",
    *measured_on("tritonclient", "grpcio"),
  ]
  write_text(ROOT / given.output, "\n".join(lines))


if __name__ == "__main__":
  sys.exit(run_script(__doc__, add_flags, run))
