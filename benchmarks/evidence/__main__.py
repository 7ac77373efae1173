"""Measures all systems of a configuration over seeds; writes its section of evidence.md and figure.

Command: python -m benchmarks.evidence [--config configs/digits.py --seeds 5] [--data-dir DIR]
  [--static-budgets 0.2 0.4]

Runs that are missing under runs/evidence/ are trained first, one after another. It can be stopped
and started again at any time; a run goes on from its last checkpoint.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.evidence import figure, measure, page
from benchmarks.evidence.runs import ROOT, evaluated_run, minutes, with_static
from meanet_jax.commands.app import run_script
from meanet_jax.commands.flags import Parser, add_integer, add_number, add_path
from meanet_jax.config.ranges import SMALLEST, Range
from meanet_jax.errors import UserError
from meanet_jax.files import read_json, write_text

PAGE = ROOT / "benchmarks" / "evidence.md"
# MACs of the edge, mean per image: main alone, and three more up to all of it.
BUDGETS = {
  "digits": (0.015e6, 0.03e6, 0.06e6, 0.18e6),
  "fashion_mnist": (0.42e6, 0.7e6, 1.0e6, 1.85e6),
}


def add_flags(parser: Parser) -> None:
  """The benchmark's flags."""
  add_path(parser, "--config", default="configs/digits.py", help="the experiment")
  add_integer(parser, "--seeds", Range(1), default=5, help="seeds 0, 1, ... to train")
  add_path(parser, "--data-dir", help="where the data set is prepared")
  add_number(
    parser,
    "--static-budgets",
    Range(SMALLEST),
    nargs="+",
    default=[],
    metavar="MMAC",
    help="edge budgets for each of which a static network is trained too",
  )


def run(given: argparse.Namespace) -> None:
  """Trains what is missing, measures, and writes the section and its figure."""
  name = Path(given.config).stem
  own_static = static_budgets(name, given.static_budgets)
  data = [f"--data-dir={given.data_dir}"] if given.data_dir else []
  runs = [evaluated_run(given.config, seed, data) for seed in range(given.seeds)]
  measured, budgets = [], []
  for seed, directory in enumerate(runs):
    loaded = measure.load_run(directory, given.data_dir)
    measured.append(measure.measure(loaded))
    ordinary = {}
    for macs in own_static:
      static = with_static(directory, given.config, seed, macs, data)
      ordinary[macs] = measure.load_run(static, given.data_dir)
    found = measured[-1]
    budgets.append({b: _at_budget(b, loaded, found, ordinary) for b in BUDGETS.get(name, ())})
  summaries = [read_json(one.path / "eval" / "summary.json")["systems"] for one in runs]
  text = page.section_text(
    page.Section(
      name,
      [macs / 1e6 for macs in own_static],
      measured,
      budgets,
      summaries,
      str(runs[0].config().evaluation.constraints),
      [minutes(one) for one in runs],
    )
  )
  figure.draw(PAGE.parent / page.figure_name(name), name, measured)
  before = PAGE.read_text() if PAGE.exists() else ""
  write_text(PAGE, page.with_section(before, text))
  print(text)


def static_budgets(name: str, given: Sequence[float]) -> list[float]:
  """The MACs for which static networks are trained.

  Args:
    name: of the configuration.
    given: in millions.

  Raises:
    UserError: one of them is no budget of the configuration's table.
  """
  table = {f"{macs / 1e6:g}": macs for macs in BUDGETS.get(name, ())}
  for budget in given:
    if f"{budget:g}" not in table:
      accepted = ", ".join(table) or f"none, as {name} has no edge budgets"
      raise UserError(f"flag --static-budgets is {budget:g}; accepted: {accepted}")
  return [table[f"{budget:g}"] for budget in given]


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
