"""Times training steps on CPU under flags of XLA's compiler; writes cpu_flags.md.

Command: python -m benchmarks.cpu_flags

Flags are read when a process starts, so each has a process of its own, which compiles once and then
measures when asked to.
"""

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.cpu_gradient import GRADIENTS, STEPS, Steps
from benchmarks.measured_on import measured_on
from meanet_jax.commands.app import run_script
from meanet_jax.commands.flags import Parser, add_integer
from meanet_jax.config.ranges import Range
from meanet_jax.files import write_text

ROOT = Path(__file__).parent.parent
FLAGS = (
  "",
  "--xla_cpu_enable_fast_math=true",
  "--xla_cpu_prefer_vector_width=512",
  "--xla_cpu_multi_thread_eigen=false",
  "--xla_cpu_enable_concurrency_optimized_scheduler=true",
  "--xla_cpu_use_fusion_emitters=false",
  "--xla_cpu_experimental_onednn_custom_call=true",
  "--xla_cpu_experimental_xnn_graph_fusion_mode=XNN_GRAPH_FUSION_MODE_GREEDY",
)
MEASURED = ("fashion_mnist:cloud", "cifar100_resnet32_b:main", "cifar100_resnet32_b:edge")


class Process:
  """A process under a flag, with the kernel gradient that is used on CPU."""

  def __init__(self, flag: str, step: str):
    self._child = subprocess.Popen(
      [sys.executable, "-m", "benchmarks.cpu_flags", f"--step={step}"],
      cwd=ROOT,
      env=os.environ | {"XLA_FLAGS": flag, "JAX_PLATFORMS": "cpu"},
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL,
      text=True,
    )
    self.ready = self._read() is not None

  def seconds(self) -> float:
    """Of a step."""
    assert self._child.stdin is not None
    self._child.stdin.write("\n")
    self._child.stdin.flush()
    found = self._read()
    assert found is not None
    return float(found)

  def end(self) -> None:
    """Lets it go."""
    self._child.communicate()

  def _read(self) -> str | None:
    assert self._child.stdout is not None
    return self._child.stdout.readline() or None


def measure(step: str) -> None:
  """In a child: a line when it is ready, and seconds for every line that it is sent."""
  name, stage = step.split(":")
  (found,) = [s for n, s in STEPS if (n, s.name) == (name, stage)]
  steps = Steps(name, found, GRADIENTS["ours"])
  print("ready", flush=True)
  for _ in sys.stdin:
    print(steps.seconds(2), flush=True)


def rows(step: str, repeats: int) -> list[str]:
  """A line for each flag."""
  processes = {flag: Process(flag, step) for flag in FLAGS}
  times: dict[str, list[float]] = {flag: [] for flag, one in processes.items() if one.ready}
  for _ in range(repeats):
    for flag in times:
      times[flag].append(processes[flag].seconds())
  for one in processes.values():
    one.end()
  lines = []
  for flag in FLAGS:
    shown = f"`{flag}`" if flag else "none"
    if flag not in times:
      lines.append(f"| {shown} | the compiler refuses it | |")
      continue
    ratios = [a / b for a, b in zip(times[""], times[flag], strict=True)]
    lines.append(
      f"| {shown} | {1e3 * statistics.median(times[flag]):.1f} | "
      f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |"
    )
  return lines


def add_flags(parser: Parser) -> None:
  """The benchmark's flags."""
  add_integer(parser, "--rounds", Range(5), default=7, help="measurements of each kind, in turn")
  # CONFIG:STAGE to measure in this process.
  parser.add_argument("--step", help=argparse.SUPPRESS)


def run(given: argparse.Namespace) -> None:
  """Measures and writes the page."""
  if given.step:
    measure(given.step)
    return
  lines = [
    "# Flags of XLA's compiler on CPU",
    "",
    "Complete training steps on made-up images, with the kernel gradient of "
    "[cpu_gradient.md](cpu_gradient.md) already in place; each flag set in `XLA_FLAGS` before the "
    f"process started. Medians of {given.rounds} measurements, all flags in turn; the speed-up is "
    "of the same round without a flag. Made by `python -m benchmarks.cpu_flags`.",
  ]
  for step in MEASURED:
    name, stage = step.split(":")
    lines += ["", f"## `{name}`, stage `{stage}`", "", "| flag | step [ms] | speed-up (range) |"]
    lines += ["|---|---|---|", *rows(step, given.rounds)]
    print(*lines[-len(FLAGS) :], sep="\n", flush=True)
  lines += [
    "",
    *measured_on(),
  ]
  write_text(Path(__file__).with_suffix(".md"), "\n".join(lines))


if __name__ == "__main__":
  sys.exit(run_script(__doc__, add_flags, run))
