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

from tests.forked_commands import ROOT, Running, start_command

READY = re.compile(r"cloud tier ready: https?://.*:(\d+) and grpcs?://.*:(\d+)")


@dataclasses.dataclass
class CloudServer:
  """http_port, grpc_port: on 127.0.0.1 unless a flag says another host. workdir: of the run that it
  serves. process: to be signalled. output: what it has printed, both streams, growing.
  """

  http_port: int
  grpc_port: int
  workdir: Path
  process: subprocess.Popen | Running
  output: list[str]


@contextlib.contextmanager
def cloud_server_process(
  workdir: Path, *flags: str, env: dict[str, str] | None = None, prefix: Sequence[str] = ()
) -> Iterator[CloudServer]:
  """Starts it, behind the words of `prefix` if there are any; waits until it is ready; ends it."""
  ports = () if any(flag.startswith("--grpc_port") for flag in flags) else ("--grpc_port=0",)
  ports += () if any(flag.startswith("--http_port") for flag in flags) else ("--http_port=0",)
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
    # Read on: a full pipe would block the server.
    reader = threading.Thread(target=output.extend, args=(lines,), daemon=True)
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
