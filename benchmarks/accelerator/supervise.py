"""Runs every part in a process of its own, so that one that hangs or dies ends no other."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.accelerator.parts import REHEARSAL_FACTOR, Part
from benchmarks.accelerator.record import FINISHED, RUNNING
from meanet_jax.files import write_json

ROOT = Path(__file__).parents[2]
LEAST_SECONDS = 5  # a process needs as long to open its devices


class Plan(NamedTuple):
  """What is run.

  parts: in order. budget: seconds in all. out: where JSON, logs and compiled programs go.
  rehearsal: tiny sizes, and longer limits.
  """

  parts: Sequence[Part]
  budget: float
  out: Path
  rehearsal: bool


def run_parts(plan: Plan) -> dict[str, str]:
  """Runs one part after another until the budget is used up; how each ended, by name."""
  plan.out.mkdir(parents=True, exist_ok=True)
  begun = time.monotonic()
  endings = {}
  for part in plan.parts:
    left = plan.budget - (time.monotonic() - begun)
    limit = min(part.seconds * (REHEARSAL_FACTOR if plan.rehearsal else 1), left)
    if limit < LEAST_SECONDS:
      endings[part.name] = "not begun: the budget is used up"
    else:
      endings[part.name] = _run_part(part, plan, limit)
    print(f"{part.name}: {endings[part.name]}", flush=True)
  return endings


def _run_part(part: Part, plan: Plan, limit: float) -> str:
  """Runs one part and notes in its file how it ended."""
  flags = [f"--part={part.name}", f"--out={plan.out}", *(["--rehearse"] if plan.rehearsal else [])]
  command = [sys.executable, "-m", "benchmarks.accelerator", *flags]
  begun = time.monotonic()
  ended = run_limited(command, limit, plan.out / f"{part.name}.log", _environment(plan))
  status = f"{ended} after {time.monotonic() - begun:.0f} s"
  path = plan.out / f"{part.name}.json"
  if path.exists():
    found = json.loads(path.read_text())
    if found["status"] == RUNNING:  # and not of an earlier call, which this one did not reach
      write_json(path, found | {"status": status})
  return status


def _environment(plan: Plan) -> dict[str, str]:
  env = os.environ | {
    "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    # What one part compiles serves the others, and the next call.
    "JAX_COMPILATION_CACHE_DIR": str(plan.out.resolve() / "compiled"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
  }
  if plan.rehearsal:  # nothing is timed, and most of what LLVM takes is saved
    env["XLA_FLAGS"] = f"{env.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"
  return env


def run_limited(
  command: Sequence[str], limit: float, log: Path, env: Mapping[str, str] | None = None
) -> str:
  """Runs a command with a log of its output and a time limit, after which it is killed.

  Everything that it has started is killed with it, also when this process is interrupted.

  Returns:
    `finished`, `cut off` or `failed`, the latter with the last line of the log.
  """
  with log.open("wb") as file:
    process = subprocess.Popen(
      command,
      stdout=file,
      stderr=subprocess.STDOUT,
      # Unbuffered, so that what a process said last is the log's last line.
      env={**(os.environ if env is None else env), "PYTHONUNBUFFERED": "1"},
      start_new_session=True,
    )
    try:
      status = process.wait(limit)
    except subprocess.TimeoutExpired:
      return "cut off"
    finally:
      _kill_group(process)
  if status == 0:
    return FINISHED
  lines = log.read_text(errors="replace").strip().splitlines() or [f"status {status}"]
  return f"failed ({lines[-1][:200]})"


def _kill_group(process: subprocess.Popen) -> None:
  try:
    os.killpg(process.pid, signal.SIGKILL)
  except ProcessLookupError:
    return  # it has ended, and so has everything that it started
  process.wait()
