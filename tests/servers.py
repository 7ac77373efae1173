"""The cloud tier as a process of its own, on ports that the system picks."""

import contextlib
import dataclasses
import os
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.forked_commands import ROOT, Running, start_command

METRICS = re.compile(r"metrics at http://127\.0\.0\.1:(\d+)/metrics")
READY = re.compile(r"cloud tier ready: grpcs?://[^;]*:(\d+)(?:; health at grpc://.*:(\d+))?")


@dataclasses.dataclass
class CloudServer:
  """A process that serves.

  Attributes:
    grpc_port: on 127.0.0.1 unless a flag says another host.
    metrics_port: on 127.0.0.1.
    health_port: where a flag asks for one.
    workdir: of the run that it serves.
    process: to be signalled.
    output: what it has printed, both streams, growing.
  """

  grpc_port: int
  metrics_port: int
  health_port: int | None
  workdir: Path
  process: subprocess.Popen | Running
  output: list[str]

  def metrics(self) -> dict[str, float]:
    """What it says to Prometheus, by name with labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics") as answer:
      lines = answer.read().decode().splitlines()
    pairs = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
    return {name: float(value) for name, value in pairs}


@contextlib.contextmanager
def cloud_server_process(
  workdir: Path, *flags: str, env: dict[str, str] | None = None, prefix: Sequence[str] = ()
) -> Iterator[CloudServer]:
  """Starts it, behind the words of `prefix` if there are any; waits until it is ready; ends it."""
  ports = () if any(flag.startswith("--grpc-port") for flag in flags) else ("--grpc-port=0",)
  ports += () if any(flag.startswith("--metrics-port") for flag in flags) else ("--metrics-port=0",)
  command = ("-m", "meanet_jax", "cloud", f"--workdir={workdir}", *ports, *flags)
  process = (
    _behind(prefix, command, env) if prefix else start_command(*command, env=env, merged=True)
  )
  lines = process.lines() if isinstance(process, Running) else process.stdout
  output: list[str] = []
  try:
    found = None
    assert lines is not None
    for line in lines:  # ends when the process does
      output.append(line)
      found = READY.search(line)
      if found:
        break
    assert found, "".join(output)
    metrics = METRICS.search("".join(output))
    assert metrics
    # Read on: a full pipe would block the server.
    reader = threading.Thread(target=output.extend, args=(lines,), daemon=True)
    reader.start()
    health = int(found[2]) if found[2] else None
    yield CloudServer(int(found[1]), int(metrics[1]), health, workdir, process, output)
  finally:
    process.terminate()
    try:
      process.wait(60)
    except subprocess.TimeoutExpired:
      process.kill()
      raise
    finally:
      if not isinstance(process, Running) and process.stdout is not None:
        process.stdout.close()


def _behind(
  prefix: Sequence[str], command: Sequence[str], env: dict[str, str] | None
) -> subprocess.Popen[str]:
  return subprocess.Popen(
    [*prefix, sys.executable, *command],
    cwd=ROOT,
    env=os.environ | (env or {}),
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )
