"""Trains and evaluates one configuration for several seeds; writes benchmarks/NAME_seeds.md.

Command: python benchmarks/seeds.py [--config configs/digits.py --seeds 5]
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from absl import app, flags

from meanet_jax.runs.environment import environment
from meanet_jax.runs.files import read_json, write_text

ROOT = Path(__file__).parent.parent
_CONFIG = flags.DEFINE_string("config", "configs/digits.py", "The experiment.")
_SEEDS = flags.DEFINE_integer("seeds", 5, "Seeds 0, 1, ... to train.")
_ACCURACIES = ("accuracy", "hard_accuracy", "easy_accuracy")


def main(_: list[str]) -> None:
  """Trains what is missing under runs/, then writes the table."""
  name = Path(_CONFIG.value).stem
  summaries, seconds = [], []
  for seed in range(_SEEDS.value):
    workdir = f"runs/seeds/{name}-{seed}"
    begun = time.monotonic()
    for command in (
      ["train.py", f"--config={_CONFIG.value}", f"--config.seed={seed}", f"--workdir={workdir}"],
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
  app.run(main)
