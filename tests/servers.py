"""The cloud tier as a process of its own, on ports that the system picks."""

import contextlib
import dataclasses
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
READY = re.compile(r"cloud tier ready: https?://.*:(\d+) and grpcs?://.*:(\d+)")


@dataclasses.dataclass
class CloudServer:
  """http_port, grpc_port: on 127.0.0.1 unless a flag says another host. workdir: of the run that it
  serves. process: to be signalled. output: what it has printed, both streams, growing.
  """

  http_port: int
  grpc_port: int
  workdir: Path
  process: subprocess.Popen
  output: list[str]


@contextlib.contextmanager
def cloud_server_process(
  workdir: Path, *flags: str, env: dict[str, str] | None = None, prefix: Sequence[str] = ()
) -> Iterator[CloudServer]:
  """Starts it, behind the words of `prefix` if there are any; waits until it is ready; ends it."""
  ports = () if any(flag.startswith("--grpc_port") for flag in flags) else ("--grpc_port=0",)
  ports += () if any(flag.startswith("--http_port") for flag in flags) else ("--http_port=0",)
  command = [sys.executable, "-m", "meanet_jax.runtime.cloud"]
  process = subprocess.Popen(
    [*prefix, *command, f"--workdir={workdir}", *ports, *flags],
    cwd=ROOT,
    env=os.environ | (env or {}),
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )
  output: list[str] = []
  try:
    found = None
    assert process.stdout is not None
    for line in process.stdout:  # ends when the process does
      output.append(line)
      found = READY.search(line)
      if found:
        break
    assert found, "".join(output)
    # Read on: a full pipe would block the server.
    reader = threading.Thread(target=output.extend, args=(process.stdout,), daemon=True)
    reader.start()
    yield CloudServer(int(found[1]), int(found[2]), workdir, process, output)
  finally:
    process.terminate()
    try:
      process.wait(60)
    except subprocess.TimeoutExpired:
      process.kill()
      raise
    finally:
      if process.stdout is not None:
        process.stdout.close()
