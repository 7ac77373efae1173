"""The cloud tier under load against the bare compiled model; writes benchmarks/cloud_load.md.

Command: python benchmarks/cloud_load.py [--config FILE ...]

64 clients, each with a connection of its own and one image per request, ask as soon as they are
answered. They run in processes of their own, on the same cores as the server.
"""

import asyncio
import contextlib
import importlib.metadata
import json
import multiprocessing
import os
import re
import resource
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
from absl import flags

from meanet_jax import cli
from meanet_jax.config import Config
from meanet_jax.config_dict import resolve
from meanet_jax.models.costs import block_macs
from meanet_jax.models.variables import init_variables
from meanet_jax.models.zoo import build
from meanet_jax.runs.checkpoints import open_checkpoints
from meanet_jax.runs.directory import RunDirectory, environment, write_text
from meanet_jax.serving.model import CloudModel, read_run
from meanet_jax.training import stages
from meanet_jax.training.loop import saved
from meanet_jax.training.optimizers import make_optimizer
from meanet_jax.training.state import create_state

ROOT = Path(__file__).parent.parent
_CONFIGS = flags.DEFINE_multi_string(
  "config",
  ["configs/fashion_mnist.py", "configs/cifar100_resnet32_b.py"],
  "Whose cloud model, with initial weights.",
)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Timed passes of everything, in turn.", lower_bound=5)
_SECONDS = flags.DEFINE_float("seconds", 4.0, "Per pass.", lower_bound=0.5)
_CLIENTS = flags.DEFINE_integer("clients", 64, "That ask at the same time.", lower_bound=1)
_PROCESSES = flags.DEFINE_integer("processes", 2, "Which the clients share.", lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", "benchmarks/cloud_load.md", "The page.")
SIZES = (1, 2, 4, 8, 16, 32, 64)
BATCH = 32


class Load(NamedTuple):
  """One pass: images per second, latencies in seconds, CPU seconds of server and clients."""

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


@contextlib.contextmanager
def server(workdir: Path, max_batch: int) -> Iterator[tuple[str, psutil.Process]]:
  """The cloud tier as a user starts it: gRPC's address, and the process."""
  arguments = [f"--workdir={workdir}", f"--max_batch={max_batch}", "--http_port=0", "--grpc_port=0"]
  process = subprocess.Popen(
    [sys.executable, "-m", "meanet_jax.runtime.cloud", *arguments],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    text=True,
  )
  try:
    assert process.stdout is not None
    found = None
    for line in process.stdout:
      found = re.search(r"cloud tier ready: .* grpc://(\S+)", line)
      if found:
        break
    assert found, "the server did not start"
    yield found[1], psutil.Process(process.pid)
  finally:
    process.terminate()
    process.wait()
    process.stdout.close()


def client_process(
  address: str, images: np.ndarray, clients: int, seconds: float, start: Any, pipe: Any
) -> None:
  """Some of the clients: each asks again once it is answered. Sends what `load` adds up."""
  asyncio.run(_clients(address, images, clients, seconds, start, pipe))


async def _clients(
  address: str, images: np.ndarray, clients: int, seconds: float, start: Any, pipe: Any
) -> None:
  import tritonclient.grpc.aio as triton  # Only here: the other processes do not ask.

  async def client(number: int) -> list[tuple[float, float]]:
    image = images[number : number + 1]
    tensor = triton.InferInput("image", image.shape, "UINT8")
    tensor.set_data_from_numpy(image)
    answered = []
    own = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own
    async with triton.InferenceServerClient(address, channel_args=own) as asked:
      await asked.infer("cloud", [tensor])  # connects
      ready.release()
      await begin.wait()
      while time.perf_counter() < deadline:
        sent = time.perf_counter()
        await asked.infer("cloud", [tensor])
        answered.append((time.perf_counter(), time.perf_counter() - sent))
    return answered

  ready, begin, deadline = asyncio.Semaphore(0), asyncio.Event(), 0.0
  tasks = [asyncio.create_task(client(number)) for number in range(clients)]
  for _ in tasks:
    await ready.acquire()
  await asyncio.to_thread(start.wait)
  before = resource.getrusage(resource.RUSAGE_SELF)
  begun = time.perf_counter()
  deadline = begun + seconds
  begin.set()
  answers = [answer for answered in await asyncio.gather(*tasks) for answer in answered]
  after = resource.getrusage(resource.RUSAGE_SELF)
  cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
  pipe.send((begun, [at for at, _ in answers], [took for _, took in answers], cpu))


def load(address: str, process: psutil.Process, images: np.ndarray, context: Any) -> Load:
  """One pass of all clients."""
  shares = [len(part) for part in np.array_split(range(_CLIENTS.value), _PROCESSES.value)]
  start = context.Barrier(len(shares) + 1)
  pipes, workers = [], []
  for share in shares:
    ours, theirs = context.Pipe(duplex=False)
    arguments = (address, images, share, _SECONDS.value, start, theirs)
    worker = context.Process(target=client_process, args=arguments)
    worker.start()
    pipes.append(ours)
    workers.append(worker)
  start.wait()
  before = sum(process.cpu_times()[:2])
  told = [pipe.recv() for pipe in pipes]
  server_cpu = sum(process.cpu_times()[:2]) - before
  for worker in workers:
    worker.join()
  begun = min(begun for begun, *_ in told)  # perf_counter is one clock for all processes
  ended = max(max(at) for _, at, _, _ in told)
  latencies = np.concatenate([took for _, _, took, _ in told])
  cpu = sum(cpu for *_, cpu in told)
  return Load(len(latencies) / (ended - begun), latencies, server_cpu, cpu)


def measure(path: str, context: Any) -> list[str]:
  """A network's lines of the table."""
  with tempfile.TemporaryDirectory() as directory:
    workdir = Path(directory) / "run"
    config = resolve(runpy.run_path(str(ROOT / path))["get_config"]())
    untrained_run(config, workdir)
    images = noise(config, max(*SIZES, _CLIENTS.value))
    model = CloudModel(read_run(workdir, print), SIZES[-1])
    with server(workdir, BATCH) as batched, server(workdir, 1) as single:
      bare: dict[int, list[float]] = {size: [] for size in SIZES}
      loads: dict[str, list[Load]] = {"batched": [], "single": []}
      for _ in range(_ROUNDS.value):
        for size in SIZES:
          bare[size].append(bare_rate(model, images[:size], _SECONDS.value / len(SIZES)))
        loads["batched"].append(load(*batched, images, context))
        loads["single"].append(load(*single, images, context))
        print(json.dumps({name: [round(one.rate) for one in of] for name, of in loads.items()}))
    rates = {size: statistics.median(of) for size, of in bare.items()}
    best = max(rates, key=rates.__getitem__)
    macs = cloud_macs(config)
    return [
      line(Path(path).stem, macs, best, rates, name, loads[name], bare[best]) for name in loads
    ]


def cloud_macs(config: Config) -> float:
  """Million multiply-accumulates per image."""
  return block_macs(build(config), config).cloud / 1e6


def line(
  name: str,
  macs: float,
  best: int,
  rates: dict[int, float],
  how: str,
  passes: list[Load],
  bare: list[float],
) -> str:
  """A row: medians over passes; latencies over all answers of all passes."""
  ratios = [one.rate / rate for one, rate in zip(passes, bare, strict=True)]
  rate = statistics.median(one.rate for one in passes)
  p50, p99 = np.percentile(np.concatenate([one.latencies for one in passes]), [50, 99]) * 1e3
  images = sum(len(one.latencies) for one in passes)
  server_ms = 1e3 * sum(one.server_cpu for one in passes) / images
  client_ms = 1e3 * sum(one.client_cpu for one in passes) / images
  batches = f"at most {BATCH}" if how == "batched" else "1 (none)"
  return (
    f"| `{name}` | {macs:.0f} | {rates[best]:.0f} ({best}) | {rates[1]:.0f} | {batches} | "
    f"{rate:.0f} | **{statistics.median(ratios):.2f}** ({min(ratios):.2f} to {max(ratios):.2f}) | "
    f"{p50:.0f} | {p99:.0f} | {server_ms:.2f} | {client_ms:.2f} |"
  )


def main() -> None:
  """Measures and writes the page."""
  context = multiprocessing.get_context("spawn")
  rows = [row for path in _CONFIGS.value for row in measure(path, context)]
  about = environment()
  packages = about["packages"] | {
    name: importlib.metadata.version(name) for name in ("kserve", "grpcio", "tritonclient")
  }
  versions = ", ".join(f"{name} {version}" for name, version in packages.items())
  lines = [
    "# The cloud tier under load",
    "",
    f"{_CLIENTS.value} clients over gRPC on loopback, one image per request, each asking again as "
    f"soon as it is answered, in {_PROCESSES.value} processes beside the server; medians of "
    f"{_ROUNDS.value} rounds of {_SECONDS.value:g} s each, everything in turn. "
    "Made by `python benchmarks/cloud_load.py`.",
    "",
    "| cloud model, initial weights | MMAC / image | bare model [images/s] (best batch) "
    "| bare, batch 1 | server's batches | server [images/s] | server / bare (range of rounds) "
    "| p50 [ms] | p99 [ms] | server CPU [ms/image] | clients CPU [ms/image] |",
    "|---" * 11 + "|",
    *rows,
    "",
    "The target is 0.8 of the bare model. The bare model has all cores to itself and is fed from "
    "memory; server and clients share them. So the ratio can at best be what the clients and the "
    "protocol leave: CPU time per image is listed for both.",
    "",
    f"Hardware: {about['devices'][0]}, {os.cpu_count()} cores; {about['platform']}.",
    f"Load average over the last 5 minutes at the end: {os.getloadavg()[1]:.1f}, of which this "
    f"script makes about {os.cpu_count()}; more than that is other programs on the same cores.",
    f"Versions: Python {about['python']}, {versions}.",
  ]
  write_text(ROOT / _OUTPUT.value, "\n".join(lines) + "\n")


if __name__ == "__main__":
  cli.run(main)
