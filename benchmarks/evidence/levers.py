"""What ways of training the edge give; writes a section of evidence.md.

Command: python -m benchmarks.evidence.levers --config configs/digits.py --seeds 5 \
  --lever model.join_dropout=0 --lever "stages.cloud_first=True stages.edge.distillation.weight=0.5"

The runs of `python -m benchmarks.evidence` are needed. Of each a copy is made for each lever, in
which everything but main, the hard classes and the cloud is trained anew with those fields, and
nothing else changed.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from benchmarks.evidence import measure, page
from benchmarks.evidence.__main__ import PAGE
from benchmarks.evidence.paired import paired_difference
from benchmarks.evidence.runs import RUNS, STATIC, copied, trained
from benchmarks.measured_on import measured_on
from meanet_jax.commands.app import run_script
from meanet_jax.commands.flags import Parser, add_integer, add_path
from meanet_jax.config.ranges import Range
from meanet_jax.errors import UserError
from meanet_jax.files import write_text
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.runs.directory import RunDirectory

SHARES = (0.0, 0.05, 0.1)
PAPER_AT = 0.05
# Fields that neither main nor the cloud reads.
OF_EDGE = (
  "model.adaptive.",
  "model.extension",
  "model.join",
  "stages.cloud_first",
  "stages.edge.",
  "stages.finetune.",
  "stages.training",
)
# What a run with other fields has of its own: stages after main but the cloud, and what names them.
_OF_ITS_OWN = (
  *("edge", "finetune", "static", "eval"),
  *("config.json", "environment.json", "metrics.jsonl", "timing.jsonl"),
)


class Trained(NamedTuple):
  """One run: what `meanet` and the paper's rules answer, and the extension by itself.

  meanet: at `SHARES`. paper: at `PAPER_AT`. extension: accuracy over the test images of its
  classes.
  """

  meanet: measure.ByShare
  paper: measure.ByShare
  extension: float


def add_flags(parser: Parser) -> None:
  """The benchmark's flags."""
  add_path(parser, "--config", default="configs/digits.py", help="the experiment")
  add_integer(parser, "--seeds", Range(1), default=5, help="seeds 0, 1, ... of its evidence")
  add_path(parser, "--data-dir", help="where the data set is prepared")
  parser.add_argument(
    "--lever",
    action="append",
    required=True,
    metavar="FIELD=VALUE",
    help="fields of the edge's training, several with blanks between them; repeatable",
  )


def run(given: argparse.Namespace) -> None:
  """Trains what is missing, measures, and writes the section."""
  name = Path(given.config).stem
  levers = [lever.split() for lever in given.lever]
  for lever in levers:
    check(lever)
  data = [f"--data-dir={given.data_dir}"] if given.data_dir else []
  bases = [RunDirectory.existing(RUNS / f"{name}-{seed}") for seed in range(given.seeds)]
  budget = STATIC.get(name)
  found = {"as configured": [_measure(base, budget, given.data_dir) for base in bases]}
  for lever in levers:
    runs = [with_lever(base, given.config, seed, lever, data) for seed, base in enumerate(bases)]
    found[" ".join(f"`{field}`" for field in lever)] = [
      _measure(one, budget, given.data_dir) for one in runs
    ]
  flags = " ".join(
    f'--lever "{lever}"' if " " in lever else f"--lever {lever}" for lever in given.lever
  )
  command = f"python -m benchmarks.evidence.levers --config configs/{name}.py --seeds {given.seeds}"
  text = section_text(name, f"{command} {flags}", found)
  before = PAGE.read_text() if PAGE.exists() else ""
  write_text(PAGE, page.with_section(before, text))
  print(text)


def check(lever: Sequence[str]) -> None:
  """Refuses fields that main or the cloud reads.

  Raises:
    UserError: one that does, or text that sets no field.
  """
  for change in lever:
    if not change.startswith(OF_EDGE) or "=" not in change:
      raise UserError(
        f"flag --lever has {change!r}; accepted: FIELD=VALUE with a field that begins with "
        f"{', '.join(OF_EDGE)}"
      )


def with_lever(
  base: RunDirectory, config: str, seed: int, lever: Sequence[str], data: Sequence[str]
) -> RunDirectory:
  """The run of a seed in which the edge is trained with other fields.

  Args:
    base: the run without them, whose main block, hard classes and cloud it has.
    config, seed, data: as in `evaluated_run`.
    lever: FIELD=VALUE each.
  """
  workdir = RUNS / f"{base.path.name} {' '.join(lever)}".replace("/", "_")
  copied(base, workdir, *_OF_ITS_OWN)
  return trained(config, seed, workdir, [f"--config.{change}" for change in lever], data)


def section_text(name: str, command: str, found: dict[str, Sequence[Trained]]) -> str:
  """The section as Markdown.

  Args:
    name: of the configuration.
    command: that makes it.
    found: by the text of a lever, its runs by seed; the first is what the others are compared with.
  """
  base = next(iter(found.values()))
  head = ["training", "extension alone"]
  head += [f"meanet, {share:.0%} sent" for share in SHARES] + ["less the first, 0%", "5%"]
  head += [f"paper's rules, {PAPER_AT:.0%} sent", "first's meanet less these"]
  rows = []
  for lever, runs in found.items():
    row = [lever, page.percent([one.extension for one in runs])]
    row += [page.percent([one.meanet[share].accuracy for one in runs]) for share in SHARES]
    for share in SHARES[:2]:
      own, first = ([one.meanet[share] for one in of] for of in (runs, base))
      row.append(page.NONE if runs is base else _less(own, first))
    paper = [one.paper[PAPER_AT] for one in runs]
    row += [page.percent([one.accuracy for one in paper])]
    rows.append([*row, _less([one.meanet[PAPER_AT] for one in base], paper)])
  return "\n\n".join(
    [
      f"## {name}, levers",
      f"{len(base)} seeds. `{command}`",
      page.table(head, rows),
      "Each row is trained with those fields and otherwise as configured, from the same main "
      "blocks and beside the same clouds. `meanet` runs the extension for as many images as the "
      "static network's MACs pay for. The last columns are of the paper's rules on the same "
      "networks, whatever they cost the edge, and of the first row's `meanet` less that. "
      "Differences are paired over seeds and test images, with their 95% bootstrap interval; one "
      "without 0 is in bold.",
      "\n".join(measured_on()).strip(),
    ]
  )


def _less(ours: Sequence[measure.Operating], others: Sequence[measure.Operating]) -> str:
  correct = ([one.correct for one in of] for of in (ours, others))
  return page.difference_text(paired_difference(*correct))


def _measure(run: RunDirectory, budget: float | None, data_dir: str | None) -> Trained:
  loaded = measure.load_run(run, data_dir)
  macs = loaded.context.macs
  points = measure.gated(loaded, budget or macs.main + 0.2 * macs.extension, SHARES)
  if points is None:
    raise UserError(f"{run.path.name}: main alone costs more than {budget:g} MACs")
  test, hard_classes = loaded.collected.test, loaded.context.hard_classes
  paper = measure.by_paper(loaded, (PAPER_AT,))
  return Trained(points, paper, _own_accuracy(test.outputs.extension, test.labels, hard_classes))


def _own_accuracy(
  logits: Float[np.ndarray, "n e"], labels: Int[np.ndarray, " n"], hard_classes: HardClasses
) -> float:
  """Of the extension by itself, over the images of classes that it has."""
  known = hard_classes.known_map[labels] >= 0
  right = hard_classes.known[logits.argmax(axis=1)] == labels
  return float(right[known].mean())


if __name__ == "__main__":
  sys.exit(run_script(__doc__, add_flags, run))
