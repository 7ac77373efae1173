"""Measures all systems of a configuration over seeds; writes its section of evidence.md.

Command: python -m benchmarks.evidence [--config configs/digits.py --seeds 5] [--data-dir DIR]

Runs that are missing under runs/evidence/ are trained first, one after another. It can be stopped
and started again at any time; a run goes on from its last checkpoint.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.evidence import measure, page
from benchmarks.evidence.runs import ROOT, evaluated_run, minutes, with_static
from meanet_jax.commands.app import run_script
from meanet_jax.commands.flags import Parser, add_integer, add_path, add_switch
from meanet_jax.config.ranges import Range
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.runs.files import read_json, write_text

PAGE = ROOT / "benchmarks" / "evidence.md"
# MACs of the edge, mean per image: main alone, and three more up to all of it.
BUDGETS = {
  "digits": (0.015e6, 0.04e6, 0.06e6, 0.1e6),
  "fashion_mnist": (0.42e6, 0.7e6, 1.0e6, 1.85e6),
}


def add_flags(parser: Parser) -> None:
  """The benchmark's flags."""
  add_path(parser, "--config", default="configs/digits.py", help="the experiment")
  add_integer(parser, "--seeds", Range(1), default=5, help="seeds 0, 1, ... to train")
  add_path(parser, "--data-dir", help="where the data set is prepared")
  add_switch(parser, "--static-budgets", "train a static network for each edge budget too")


def run(given: argparse.Namespace) -> None:
  """Trains what is missing, measures, and writes the section."""
  data = [f"--data-dir={given.data_dir}"] if given.data_dir else []
  runs = [evaluated_run(given.config, seed, data) for seed in range(given.seeds)]
  name, measured, budgets = Path(given.config).stem, [], []
  for seed, directory in enumerate(runs):
    loaded = measure.load_run(directory, given.data_dir)
    measured.append(measure.measure(loaded))

    def static(macs: float, directory: RunDirectory = directory, seed: int = seed) -> RunDirectory:
      return with_static(directory, given.config, seed, macs, data)

    ordinary = {}
    if given.static_budgets:
      ordinary = {
        macs: measure.load_run(static(macs), given.data_dir) for macs in BUDGETS.get(name, ())
      }
    found = measured[-1]
    budgets.append({b: _at_budget(b, loaded, found, ordinary) for b in BUDGETS.get(name, ())})
  summaries = [read_json(one.path / "eval" / "summary.json")["systems"] for one in runs]
  text = page.section_text(
    page.Section(
      name,
      measured,
      budgets,
      summaries,
      str(runs[0].config().evaluation.constraints),
      [minutes(one) for one in runs],
    )
  )
  before = PAGE.read_text() if PAGE.exists() else ""
  write_text(PAGE, page.with_section(before, text))
  print(text)


def _at_budget(
  budget: float,
  loaded: measure.Loaded,
  found: measure.Measured,
  ordinary: Mapping[float, measure.Loaded],
) -> dict[str, measure.ByShare | None]:
  """Every system that sends, at `BUDGETED_AT`, as far as it keeps a budget of the edge's MACs."""
  shares = page.BUDGETED_AT
  systems = {
    name: {share: found.systems[name][share] for share in shares}
    for name in ("main_cloud", "paper", "static_cloud")
  }
  if budget in ordinary:
    other = ordinary[budget]
    systems["static_cloud"] = {
      share: measure.operating(other.context, measure.static_systems(other, share)["static_cloud"])
      for share in shares
    }
  kept = {name: measure.within(points, budget) for name, points in systems.items()}
  return kept | {"meanet": measure.gated(loaded, budget, shares)}


if __name__ == "__main__":
  sys.exit(run_script(__doc__, add_flags, run))
