"""Trains and evaluates one configuration for several seeds; writes benchmarks/NAME_seeds.md.

Command: python benchmarks/seeds.py [--config configs/digits.py --seeds 5]
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from meanet_jax.commands.app import run_script
from meanet_jax.commands.flags import Parser, add_integer, add_path
from meanet_jax.config.ranges import Range
from meanet_jax.runs.environment import environment
from meanet_jax.runs.files import read_json, write_text

ROOT = Path(__file__).parent.parent
_ACCURACIES = ("accuracy", "hard_accuracy", "easy_accuracy")


def add_flags(parser: Parser) -> None:
  """The benchmark's flags."""
  add_path(parser, "--config", default="configs/digits.py", help="the experiment")
  add_integer(parser, "--seeds", Range(1), default=5, help="seeds 0, 1, ... to train")


def run(given: argparse.Namespace) -> None:
  """Trains what is missing under runs/, then writes the table."""
  name = Path(given.config).stem
  summaries, seconds = [], []
  for seed in range(given.seeds):
    workdir = f"runs/seeds/{name}-{seed}"
    begun = time.monotonic()
    for command in (
      ["train.py", f"--config={given.config}", f"--config.seed={seed}", f"--workdir={workdir}"],
      ["eval.py", f"--workdir={workdir}"],
    ):
      subprocess.run([sys.executable, *command], cwd=ROOT, check=True)
    seconds.append(time.monotonic() - begun)
    summaries.append(read_json(ROOT / workdir / "eval" / "summary.json")["systems"])
  text = report(name, summaries, seconds)
  write_text(ROOT / "benchmarks" / f"{name}_seeds.md", text)
  print(text)


def report(name: str, summaries: list[dict], seconds: list[float]) -> str:
  """The table as Markdown."""
  lines = [
    f"# {name}: {len(summaries)} seeds, test split",
    "",
    "Mean ± standard deviation over seeds, in percent. "
    f"Made by `python benchmarks/seeds.py --config configs/{name}.py`.",
    "",
    "| system | accuracy | hard classes | easy classes | to the cloud | edge kMAC | energy [µJ] |",
    "|---|---|---|---|---|---|---|",
  ]
  for system in summaries[0]:
    rows = [s[system] for s in summaries]
    cells = [spread([100 * row[f] for row in rows], 2) for f in _ACCURACIES]
    cells.append(spread([100 * row["fraction"]["cloud"] for row in rows], 1))
    cells.append(spread([row["macs_edge"] / 1e3 for row in rows], 1))
    cells.append(spread([row["energy_mj"] * 1e3 for row in rows], 2))
    lines.append(f"| `{system}` | {' | '.join(cells)} |")
  gain = [100 * (s["edge_only"]["accuracy"] - s["main_only"]["accuracy"]) for s in summaries]
  gap = [100 * (s["meanet"]["accuracy"] - s["cloud_only"]["accuracy"]) for s in summaries]
  most = max(100 * s["meanet"]["fraction"]["cloud"] for s in summaries)
  here = environment()
  versions = ", ".join(f"{p} {v}" for p, v in here["packages"].items())
  lines += [
    "",
    f"`edge_only` above `main_only`: {spread(gain, 2)} points ({each(gain)}).",
    f"`meanet` above `cloud_only`: {spread(gap, 2)} points ({each(gap)}), "
    f"with at most {most:.1f}% of any seed's test images sent to the cloud.",
    f"Training and evaluation took {spread(seconds, 0)} s a seed, compilation included, "
    f"with a load average of {os.getloadavg()[2]:.1f} over the last 15 minutes.",
    "",
    f"Hardware: {len(here['devices'])} x {here['devices'][0]} device; {here['platform']}.",
    f"Versions: Python {here['python']}, {versions}.",
    "",
  ]
  return "\n".join(lines)


def spread(values: list[float], digits: int) -> str:
  """Mean ± standard deviation."""
  return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"


def each(values: list[float]) -> str:
  """Every value, in order of seeds."""
  return ", ".join(f"{value:+.2f}" for value in values)


if __name__ == "__main__":
  sys.exit(run_script(__doc__, add_flags, run))
