"""What is asked: a run's cloud tier as a user starts it, and a server without a model."""

import contextlib
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from meanet_jax.config.schema import Config
from meanet_jax.models.variables import init_variables
from meanet_jax.models.zoo import build
from meanet_jax.runs.checkpoints import open_checkpoints
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.training import stages
from meanet_jax.training.optimizers import make_optimizer
from meanet_jax.training.state import create_state, saved

ROOT = Path(__file__).parent.parent.parent


class Server(NamedTuple):
  """One that runs. address: HOST:PORT. metrics: URL; "" for none."""

  address: str
  metrics: str
  process: psutil.Process

  def counts(self) -> dict[str, float]:
    """What it tells Prometheus of itself: images answered, requests refused."""
    if not self.metrics:
      return {}
    with urllib.request.urlopen(self.metrics) as answer:
      lines = answer.read().decode().splitlines()
    pairs = [line.rsplit(" ", 1) for line in lines if line.startswith("cloud_")]
    return {name: float(value) for name, value in pairs}


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


@contextlib.contextmanager
def cloud_tier(workdir: Path, max_batch: int) -> Iterator[Server]:
  """The cloud tier as a user starts it.

  Args:
    workdir: the run.
    max_batch: images in its largest batch.
  """
  arguments = [f"--workdir={workdir}", f"--max-batch={max_batch}", "--grpc-port=0"]
  with _started(
    ["meanet_jax", "cloud", *arguments, "--metrics-port=0"],
    r"metrics at (\S+)(?s:.*)cloud tier ready: grpc://(\S+)",
  ) as (found, process):
    yield Server(found[2], found[1], process)


@contextlib.contextmanager
def echo() -> Iterator[Server]:
  """A server that answers without a model."""
  with _started(["benchmarks.cloud_load.echo"], r"ready: (\S+)") as (found, process):
    yield Server(found[1], "", process)


@contextlib.contextmanager
def _started(module: Sequence[str], ready: str) -> Iterator[tuple[re.Match[str], psutil.Process]]:
  """A module that runs, and what it says of itself; it is ended at the end.

  Args:
    module: its name and arguments.
    ready: a pattern of what it prints once it can be asked.
  """
  process = subprocess.Popen(
    [sys.executable, "-m", *module], cwd=ROOT, stdout=subprocess.PIPE, text=True
  )
  try:
    assert process.stdout is not None
    output, found = "", None
    for line in process.stdout:
      output += line
      if found := re.search(ready, output):
        break
    assert found, f"the server did not start: {output}"
    yield found, psutil.Process(process.pid)
  finally:
    process.terminate()
    process.wait()
    process.stdout.close()
