"""A grid of 8 small networks against 8 runs, and trials on a TPU; writes benchmarks/grid.md.

Command: python -m benchmarks.grid [--repeats 5]

Each measurement is a process of its own and leaves a file under runs/grid_benchmark/, so that an
interrupted benchmark goes on and `--only` can take a part of it.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax

from benchmarks.grid_tpu import report_tpu
from benchmarks.measured_on import measured_on
from meanet_jax import log
from meanet_jax.commands.app import run_script
from meanet_jax.commands.flags import Parser, add_integer
from meanet_jax.config.grid import GridConfig
from meanet_jax.config.parsing import resolve
from meanet_jax.config.ranges import Range
from meanet_jax.config.schema import Config
from meanet_jax.files import read_json, write_json, write_text
from meanet_jax.grid.context import GridContext
from meanet_jax.grid.run import plan
from meanet_jax.grid.train import train_points
from meanet_jax.training.train import train

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "runs" / "grid_benchmark"
POINTS = 8
KINDS = ("grid", "sequential", "processes")


def small() -> Config:
  """Digits through networks of four thousand to twenty thousand parameters."""
  from configs.digits import get_config

  fields = get_config()
  model = fields.model
  model.main.structure.depths, model.main.structure.widths = (1,), (8,)
  model.main.structure.strides = (2,)
  model.adaptive.stem_width = 8
  model.adaptive.depths, model.adaptive.widths, model.adaptive.strides = (1,), (8,), (2,)
  model.extension.depths, model.extension.widths, model.extension.strides = (1,), (16,), (1,)
  cloud = model.cloud.structure
  cloud.stem_width, cloud.depths, cloud.widths, cloud.strides = 16, (1,), (16,), (2,)
  for stage in (fields.stages.main, fields.stages.edge, fields.stages.cloud):
    stage.epochs = 40
  return resolve(fields)


def grid() -> GridConfig:
  """Four learning rates, two seeds."""
  return GridConfig(axes=("stages.main.learning_rate=0.02,0.05,0.1,0.2", "seed=0,1"))


class Compilation:
  """Seconds in which JAX traced, lowered or compiled: the union of the intervals it tells of."""

  def __init__(self):
    self._intervals: list[tuple[float, float]] = []
    jax.monitoring.register_event_duration_secs_listener(self._heard)

  def _heard(self, event: str, seconds: float, **_: Any) -> None:
    if event.startswith("/jax/core/compile"):
      now = time.perf_counter()
      self._intervals.append((now - seconds, now))

  @property
  def seconds(self) -> float:
    """The length of the union."""
    total, reached = 0.0, -1.0
    for begin, end in sorted(self._intervals):
      total += max(0.0, end - max(begin, reached))
      reached = max(reached, end)
    return total


def measure(kind: str, workdir: Path, result: Path) -> None:
  """Trains in this process and writes what it took."""
  compilation = Compilation()
  log.to_console()
  (group,) = plan(small(), grid())
  begun = time.perf_counter()
  if kind == "grid":
    from meanet_jax.data.sources import load

    train_points(group.points, load(small().dataset), GridContext(workdir, grid()))
  else:
    chosen = group.points if kind == "sequential" else [group.points[int(kind)]]
    for point in chosen:
      train(point.config, workdir / point.name)
  write_json(
    result,
    {
      "seconds": time.perf_counter() - begun,
      "compile_seconds": compilation.seconds,
      "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    },
  )


def measure_kind(kind: str, repeat: int) -> None:
  """Measures one kind in processes of its own, if that has not been done."""
  result = RESULTS / f"{kind}-{repeat}.json"
  if result.exists():
    return
  workdir = RESULTS / f"work-{kind}-{repeat}"
  subprocess.run(["rm", "-rf", str(workdir)], check=True)
  RESULTS.mkdir(parents=True, exist_ok=True)
  parts = [kind] if kind != "processes" else [str(number) for number in range(POINTS)]
  partial = [RESULTS / f"part-{kind}-{part}.json" for part in parts]
  begun = time.perf_counter()
  running = [
    subprocess.Popen(
      [sys.executable, __file__, f"--measure={part}:{workdir}:{path}"],
      cwd=ROOT,
      env={**os.environ, "PYTHONPATH": str(ROOT)},
      stdout=subprocess.DEVNULL,
    )
    for part, path in zip(parts, partial, strict=True)
  ]
  if any(process.wait() for process in running):
    raise SystemExit(f"a process of {kind} failed")
  whole = time.perf_counter() - begun
  found = [read_json(path) for path in partial]
  write_json(
    result,
    {
      "seconds": whole if kind == "processes" else found[0]["seconds"],
      "whole_seconds": whole,
      "compile_seconds": sum(one["compile_seconds"] for one in found),
      "peak_bytes": sum(one["peak_bytes"] for one in found),
    },
  )


def page() -> str:
  """benchmarks/grid.md, of what was measured."""
  found = {
    kind: [json.loads(path.read_text()) for path in sorted(RESULTS.glob(f"{kind}-*.json"))]
    for kind in KINDS
  }
  count = min(map(len, found.values()))

  def median(kind: str, of: Any) -> float:
    return statistics.median(of(one) for one in found[kind][:count])

  def steady(one: dict[str, float]) -> float:
    return one["seconds"] - one["compile_seconds"]

  rows = []
  names = {
    "grid": "one grid of 8, unrolled",
    "sequential": "8 runs in one process, one after another",
    "processes": "8 processes at once",
  }
  for kind in KINDS:
    without = "" if kind == "processes" else f"{median(kind, steady):.1f}"
    rows.append(
      f"| {names[kind]} | {median(kind, lambda o: o['whole_seconds']):.1f} | "
      f"{median(kind, lambda o: o['seconds']):.1f} | "
      f"{median(kind, lambda o: o['compile_seconds']):.1f} | {without} | "
      f"{median(kind, lambda o: o['peak_bytes']) / 1e6:.0f} |"
    )
  pairs = list(zip(found["grid"], found["sequential"]))[:count]
  with_compile = [a["seconds"] / b["seconds"] for a, b in pairs]
  without_compile = [steady(a) / steady(b) for a, b in pairs]
  processes = [
    a["whole_seconds"] / b["whole_seconds"] for a, b in zip(found["grid"], found["processes"])
  ][:count]
  return "\n".join(
    [
      "# Grids",
      "",
      f"Made by `python -m benchmarks.grid --repeats {count}`: medians of {count} measurements of "
      "each kind, taken in turn.",
      "",
      "## Eight small networks",
      "",
      "Digits, all four stages, 40 epochs each; four learning rates x two seeds. Compilation is "
      "the time in which JAX traced, lowered or compiled; of 8 processes it is the sum of what "
      "each spent, and peak memory is the sum of theirs.",
      "",
      "| | whole process [s] | training [s] | of it compilation [s] | without it [s] | "
      "peak memory [MB] |",
      "|---|---|---|---|---|---|",
      *rows,
      "",
      f"The grid takes {_ratio(without_compile)} of the sequential time without compilation "
      f"(target: at most 0.9), {_ratio(with_compile)} with it (at most 0.5), and "
      f"{_ratio(processes)} of the 8 processes' wall time, start-up included.",
      "",
      *report_tpu(RESULTS),
      *measured_on(),
    ]
  )


def _ratio(values: list[float]) -> str:
  text = f"{statistics.median(values):.2f}"
  return f"{text} ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else text


def add_flags(parser: Parser) -> None:
  """The benchmark's flags."""
  add_integer(
    parser, "--repeats", Range(1), default=5, help="times that each kind is measured, in turn"
  )
  parser.add_argument(
    "--only",
    action="append",
    choices=[*KINDS, "page"],
    help="what to do, repeatable; everything if not given",
  )
  # KIND:WORKDIR:RESULT, in this process.
  parser.add_argument("--measure", help=argparse.SUPPRESS)


def run(given: argparse.Namespace) -> None:
  """Measures, then writes the page."""
  if given.measure:
    kind, workdir, result = given.measure.split(":")
    measure(kind, Path(workdir), Path(result))
    return
  only = given.only or [*KINDS, "page"]
  for repeat in range(given.repeats):
    for kind in KINDS:
      if kind in only:
        measure_kind(kind, repeat)
  if "page" in only:
    text = page()
    write_text(ROOT / "benchmarks" / "grid.md", text)
    print(text)


if __name__ == "__main__":
  sys.exit(run_script(__doc__, add_flags, run))
