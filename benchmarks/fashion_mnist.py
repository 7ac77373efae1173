"""Trains Fashion-MNIST for three seeds, a static network beside each; writes fashion_mnist.md.

Command: python -m benchmarks.fashion_mnist --data-dir DIR [--seeds 3] [--no-static] [--no-cloud]

`--no-cloud` compares the edge alone with the static network and writes fashion_mnist_static.md: its
runs differ in the cloud model, which is of one narrow stage, and no other stage depends on it.
"""

import argparse
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from meanet_jax import log
from meanet_jax.commands.app import run_script
from meanet_jax.commands.flags import Parser, add_integer, add_path
from meanet_jax.config.constraints import Constraints
from meanet_jax.config.ranges import Range
from meanet_jax.config.schema import Config
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.data.sources import load
from meanet_jax.evaluation.collect import collect
from meanet_jax.evaluation.context import Context
from meanet_jax.evaluation.policy_selection import select_policy
from meanet_jax.evaluation.static_systems import static_curves
from meanet_jax.evaluation.systems import evaluate_systems, summary_entry
from meanet_jax.models.costs import block_macs
from meanet_jax.models.zoo import build
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.runs.environment import environment
from meanet_jax.runs.files import write_text
from meanet_jax.training.restore import load_hard_classes

ROOT = Path(__file__).parent.parent
CONFIG = "configs/fashion_mnist.py"
OFFLOADS = (0.05, 0.1, 0.2)
STATIC = "`static`"
ACCURACIES = ("accuracy", "hard_accuracy", "easy_accuracy")
NARROW_CLOUD = (
  "--config.stages.cloud.epochs=2",
  "--config.model.cloud.structure.stem=conv3_stride2",
  "--config.model.cloud.structure.stem_width=4",
  "--config.model.cloud.structure.depths=(1,)",
  "--config.model.cloud.structure.widths=(4,)",
  "--config.model.cloud.structure.strides=(2,)",
)


class Parts(NamedTuple):
  """What is trained and compared. data_dir: where fashion_mnist lies prepared."""

  data_dir: str | None
  static: bool
  cloud: bool


def train(seed: int, parts: Parts) -> RunDirectory:
  """The finished and evaluated run of a seed."""
  name = f"fashion_mnist-{seed}" if parts.cloud else f"fashion_mnist_edge-{seed}"
  workdir = ROOT / "runs" / "seeds" / name
  data = [f"--data-dir={parts.data_dir}"] if parts.data_dir else []
  for command in (
    [
      "train.py",
      f"--config={CONFIG}",
      f"--config.seed={seed}",
      f"--workdir={workdir}",
      *(() if parts.cloud else NARROW_CLOUD),
      *(("--config.baselines.static=1",) if parts.static else ()),
      *data,
    ],
    ["eval.py", f"--workdir={workdir}", *data],
  ):
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True)
  return RunDirectory.existing(workdir)


def minutes(run: RunDirectory) -> float:
  """From a run's beginning to its last checkpoint, for one that was not interrupted."""
  saved = (run.path / "checkpoints").glob("*/*")
  return (max(path.stat().st_mtime for path in saved) - run.config_path.stat().st_mtime) / 60


def systems(run: RunDirectory, parts: Parts) -> dict[str, dict[str, Any]]:
  """The entries of summary.json, those with a threshold at every largest offload of `OFFLOADS`."""
  config = run.config()
  hard_classes = load_hard_classes(config, run)
  macs = block_macs(build(config), config)
  dataset = load(config.dataset, ReadOptions(parts.data_dir))
  collected = collect(config, run, dataset, hard_classes, reuse="always")
  validation, test, _ = collected
  context = Context.of(config, macs, hard_classes, test.labels)
  every = np.ones(len(validation.labels), bool)
  alone = ("main_only", "edge_only", "static", *(("cloud_only",) if parts.cloud else ()))
  rows: dict[str, dict[str, Any]] = {}
  for offload in OFFLOADS:
    constraints = Constraints(max_offload=offload, spend_budget=True)
    meanet = select_policy(context, validation, constraints).system
    curves = evaluate_systems(meanet, context, validation, test, constraints)
    curves |= static_curves(context, collected, every, constraints)
    for name, system in curves.items():
      sends = parts.cloud and name in ("main_cloud", "static_cloud", "paper", "meanet")
      asked = f", at most {offload:.0%}" if sends else ""
      if asked or name in alone:
        rows[f"`{name}`{asked}"] = summary_entry(context, system)
  return rows


def add_flags(parser: Parser) -> None:
  """The benchmark's flags."""
  add_path(parser, "--data-dir", help="where fashion_mnist lies prepared")
  add_integer(parser, "--seeds", Range(2), default=3, help="seeds 0, 1, ... to train")
  parser.add_argument(
    "--no-static",
    dest="static",
    action="store_false",
    help="neither train the static networks nor compare with them",
  )
  parser.add_argument(
    "--no-cloud",
    dest="cloud",
    action="store_false",
    help="neither train the cloud model nor route to it",
  )


def run(given: argparse.Namespace) -> None:
  """Trains what is missing under runs/, then writes the table."""
  log.to_console()
  parts = Parts(given.data_dir, given.static, given.cloud)
  runs = [train(seed, parts) for seed in range(given.seeds)]
  tables = [systems(run, parts) for run in runs]
  text = report(tables, max(map(minutes, runs)), runs[0].config(), parts)
  page = "fashion_mnist.md" if parts.cloud else "fashion_mnist_static.md"
  write_text(ROOT / "benchmarks" / page, text)
  print(text)


def report(
  tables: list[dict[str, dict[str, Any]]], longest: float, config: Config, parts: Parts
) -> str:
  """The table as Markdown."""
  lines = [
    f"# Fashion-MNIST: {len(tables)} seeds, test split of 10,000 images",
    "",
    "Mean ± standard deviation over seeds; accuracies and shares in percent. Thresholds are "
    "selected on validation for the share in the row's name. Made by "
    "`python -m benchmarks.fashion_mnist"
    f"{'' if parts.cloud else ' --no-cloud'}`.",
    "",
    "| system | accuracy | hard classes | easy classes | to the cloud | edge MMAC | energy [µJ] |",
    "|---|---|---|---|---|---|---|",
  ]
  order = ["`main_only`", "`edge_only`", *([STATIC] if STATIC in tables[0] else [])]
  order += ["`cloud_only`"] if parts.cloud else []
  order += [name for name in tables[0] if name not in order]
  for name in order:
    rows = [table[name] for table in tables]
    cells = [spread([100 * row[field] for row in rows], 2) for field in ACCURACIES]
    cells.append(spread([100 * row["fraction"]["cloud"] for row in rows], 1))
    cells.append(spread([row["macs_edge"] / 1e6 for row in rows], 3))
    cells.append(spread([row["energy_mj"] * 1e3 for row in rows], 1))
    lines.append(f"| {name} | {' | '.join(cells)} |")
  here = environment()
  versions = ", ".join(f"{p} {v}" for p, v in here["packages"].items())
  lines += [
    "",
    *_compared(tables, config),
    *_took(longest, parts),
    f"Hardware: {len(here['devices'])} x {here['devices'][0]} device; {here['platform']}.",
    f"Versions: Python {here['python']}, {versions}.",
    "",
  ]
  return "\n".join(lines)


def _took(longest: float, parts: Parts) -> list[str]:
  if not parts.cloud:  # nobody wants to know how long a part of it takes
    return [""]
  took = f"Training took at most {longest:.0f} minutes a seed, all stages and compilation included."
  return [took, ""]


def _compared(tables: list[dict[str, dict[str, Any]]], config: Config) -> list[str]:
  """Whether early exit is worth it."""
  if STATIC not in tables[0]:
    return ["No static network of the same cost was trained for this page (`--no-static`)."]
  gain = [100 * (table["`edge_only`"]["accuracy"] - table[STATIC]["accuracy"]) for table in tables]
  worth = "worth it" if min(gain) > 0 else "not worth it" if max(gain) < 0 else "not decided"
  return [
    "The static network is a main block alone, as wide as makes its MACs those of `edge_only`'s "
    f"average, trained on as many images as the stages main ({config.stages.main.epochs} epochs) "
    f"and edge ({config.stages.edge.epochs} epochs of the images of hard classes) together.",
    f"`edge_only` above the static network: {spread(gain, 2)} points "
    f"({', '.join(f'{value:+.2f}' for value in gain)}): "
    f"without a cloud, early exit is {worth} here.",
  ]


def spread(values: list[float], digits: int) -> str:
  """Mean ± standard deviation."""
  return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"


if __name__ == "__main__":
  sys.exit(run_script(__doc__, add_flags, run))
