"""Measures everything on an accelerator, in order of worth, and makes the page.

Commands: python -m benchmarks.accelerator --budget-seconds 480 --out DIR [--only PART]
          python -m benchmarks.accelerator --report DIR

Every part runs in a process of its own with its own time limit and writes DIR/PART.json again after
every row, so that a call which is cut off anywhere leaves what it has measured. `--rehearse` takes
tiny sizes, on any device.
"""

import argparse
import importlib
import os
import signal
import sys
import tempfile
from pathlib import Path

from benchmarks.accelerator.parts import BY_NAME, PARTS, REHEARSAL_FACTOR, Part
from benchmarks.accelerator.record import PartContext, Record
from benchmarks.accelerator.supervise import Plan, run_parts
from meanet_jax.commands.app import run_script
from meanet_jax.commands.flags import Parser, add_number, add_path, add_switch, require
from meanet_jax.config.ranges import Range
from meanet_jax.errors import UserError, nearest

BUDGET = 480
PAGE = Path(__file__).parents[1] / "accelerator.md"


def add_flags(parser: Parser) -> None:
  """The benchmark's flags."""
  add_number(
    parser,
    "--budget-seconds",
    Range(1),
    help=f"for all parts together; {BUDGET}, or {REHEARSAL_FACTOR} times that in a rehearsal, "
    "if not given",
  )
  add_path(parser, "--out", metavar="DIR", help="where results are written")
  parser.add_argument(
    "--only", action="append", default=[], metavar="PART", help="a part to run; repeatable"
  )
  add_switch(parser, "--rehearse", help="tiny sizes, to see that everything runs")
  add_path(parser, "--report", metavar="DIR", help="make the page from the results in DIR")
  add_path(parser, "--page", default=str(PAGE), help="the page that --report writes")
  parser.add_argument("--part", help=argparse.SUPPRESS)  # in this process, as the call above asks


def run(given: argparse.Namespace) -> int:
  """Runs parts, one part, or the report; 1 where a part failed or was cut off."""
  if given.report:
    from benchmarks.accelerator.report import write_report

    write_report(Path(given.report), Path(given.page))
    return 0
  out = Path(require(given.out, "--out", "--out DIR"))
  if given.part:
    run_here(find(given.part), out, given.rehearse)
    return 0
  parts = [find(name) for name in given.only] or list(PARTS)
  budget = given.budget_seconds or BUDGET * (REHEARSAL_FACTOR if given.rehearse else 1)
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # which kills the part under way
  endings = run_parts(Plan(parts, budget, out, given.rehearse))
  print(f"make the page with: python -m benchmarks.accelerator --report {out}")
  return 0 if all(ending.startswith("finished") for ending in endings.values()) else 1


def find(name: str) -> Part:
  """The part of a name, with dashes or underscores.

  Raises:
    UserError: there is none.
  """
  known = name.replace("-", "_")
  if known not in BY_NAME:
    raise UserError(f"flag --only is {name!r}; {nearest(known, BY_NAME)}")
  return BY_NAME[known]


def run_here(part: Part, out: Path, rehearsal: bool) -> None:
  """Runs a part in this process."""
  out.mkdir(parents=True, exist_ok=True)
  record = Record(out / f"{part.name}.json", part.name, rehearsal)
  if part.opens_jax:
    from meanet_jax.runs.environment import environment

    record.environment(environment() | {"cores": os.cpu_count()})
  module = importlib.import_module(f"benchmarks.accelerator.{part.name}")
  with tempfile.TemporaryDirectory(prefix=f"{part.name}_", dir=out) as scratch:
    module.run(PartContext(record, rehearsal, Path(scratch)))


if __name__ == "__main__":
  sys.exit(run_script(__doc__, add_flags, run))
