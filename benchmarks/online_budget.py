"""Budgets, bandit and agreement monitoring on a stream that turns noisier and blurrier half-way.

Writes benchmarks/online_budget.md, online_budget.png and online_bandit.png.

Command: python -m benchmarks.online_budget [--workdir runs/digits]
  [--workdir runs/fashion --data-dir D]
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks import online_bandit
from benchmarks.digits_run import DIGITS, run_directory
from benchmarks.measured_on import measured_on
from benchmarks.online_follow import (
  SETTLING,
  TARGET,
  TOLERANCE,
  WINDOW,
  Followed,
  energy,
  errors,
  first_threshold,
  follow,
  offloads,
  png_bytes,
  settled_errors,
  window_means,
)
from benchmarks.online_stream import Stream, accuracy, make_stream
from meanet_jax.commands.app import run_script
from meanet_jax.commands.flags import Parser, add_integer, add_number, add_path
from meanet_jax.config.ranges import Range
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.files import write_text
from meanet_jax.routing.online.agreement import (
  Agreement,
  AgreementMonitor,
  Agreements,
  agreement,
  is_monitored,
  record,
)
from meanet_jax.routing.online.budget import STEP, Budget, check_budget, guaranteed_excess
from meanet_jax.tflite.source import from_run

STEPS = (0.01, 0.02, 0.05, 0.1, 0.2)
TITLES = (
  "budget",
  "sent [%]",
  "then",
  "accuracy [%] (against hindsight)",
  "then",
  "worst window [% of target]",
  "then",
  "change included",
  "guaranteed",
  "off by over 2% of target [% of windows]",
  "settled after, 2 points",
  "2% of target",
)


def settled(off: np.ndarray) -> str:
  """The first image from which on no window is off."""
  if off[-1]:
    return "never"
  return str(int(np.flatnonzero(off)[-1]) + 1) if off.any() else "0"


def row(name: str, stream: Stream, budget: Budget, followed: Followed, guaranteed: bool) -> str:
  """A line of the table."""
  change = len(stream.uncertainty) // 2
  cells, accuracies = [name], []
  parts = list(zip(stream.halves, np.split(followed.goes, 2), strict=True))
  for there, gone in parts:
    share = float(gone.mean())
    cells.append(f"{100 * share:.2f}")
    # The one threshold that sends as many of these very images.
    best = accuracy(there, there.uncertainty > np.quantile(there.uncertainty, 1 - share))
    reached = accuracy(there, gone)
    accuracies.append(f"{100 * reached:.2f} ({100 * (reached - best):+.2f})")
  error = errors(budget, followed)
  before, after = settled_errors(error)
  off = np.abs(np.concatenate([before, after])) > TOLERANCE
  worst = [np.abs(part).max() for part in (before, after, error)]
  cells += accuracies
  cells += [f"{100 * value:.1f}" for value in worst]
  bound = guaranteed_excess(budget, WINDOW) / budget.target
  cells += [f"{100 * bound:.1f}" if guaranteed else "-", f"{100 * off.mean():.1f}"]
  points = TOLERANCE * budget.largest / budget.target
  cells += [settled(np.abs(error[change:]) > limit) for limit in (points, TOLERANCE)]
  return f"| {' | '.join(cells)} |"


def budget_rows(stream: Stream) -> tuple[list[str], dict[str, Followed]]:
  """Lines of the table, and what the picture shows."""
  threshold = first_threshold(stream)
  goes = stream.uncertainty > threshold
  shown = {"fixed threshold": Followed(goes, goes.astype(float), np.full(len(goes), threshold))}
  rows = [row("fixed threshold", stream, Budget(TARGET), shown["fixed threshold"], False)]
  for step in STEPS:
    name, wanted = f"share, step {step:g}", offloads(stream, step)
    shown[name] = follow(stream, wanted)
    rows.append(row(name, stream, wanted.budget, shown[name], True))
  size, power = png_bytes(stream), energy(stream)
  check_budget("max_energy_mj", power.budget, float(stream.kept_mj.max()))
  for name, wanted in (
    (f"{size.budget.target:.1f} bytes (PNG)", size),
    (f"{1e3 * power.budget.target:.1f} µJ", power),
  ):
    rows.append(row(name, stream, wanted.budget, follow(stream, wanted), True))
  return rows, shown


def agreement_text(stream: Stream, goes: np.ndarray) -> str:
  """When monitoring the images that stay notices the change."""
  monitor, state, change = AgreementMonitor(share=0.02), Agreements(), len(stream.uncertainty) // 2
  found: list[tuple[int, Agreement]] = []
  for number in np.flatnonzero(~goes).tolist():
    if is_monitored(monitor, 0, number):
      state = record(monitor, state, bool(stream.agrees[number]))
      found.append((number, agreement(monitor, state)))
  before = [a for number, a in found if number < change]
  alarms = [number - change for number, a in found if number >= change and a.alarm]
  return (
    f"AgreementMonitor of 2% of the images that stay under the budget of step {STEP:g}, floor "
    f"{100 * monitor.floor:.0f}%, window {monitor.window}: agreement with the cloud "
    f"{_agreement(before[-1])} before the change, with {sum(a.alarm for a in before)} false "
    f"alarms, and {_agreement(found[-1][1])} at the end; "
    + (f"the alarm {alarms[0]} images after the change." if alarms else "no alarm.")
  )


def _agreement(found: Agreement) -> str:
  return f"{100 * found.share:.1f}% [{100 * found.lower:.1f}, {100 * found.upper:.1f}]"


def draw(path: Path, runs: dict[str, dict[str, Followed]]) -> None:
  """The share sent over the newest `WINDOW` images, and the threshold, one column per run."""
  figure = Figure(figsize=(7 * len(runs), 8), layout="constrained")
  FigureCanvasAgg(figure)
  for column, (run, lines) in zip(figure.subplots(2, len(runs), squeeze=False).T, runs.items()):
    shares, thresholds = column
    for name in ("fixed threshold", "share, step 0.02", "share, step 0.2"):
      followed = lines[name]
      images = np.arange(WINDOW, len(followed.goes) + 1)
      shares.plot(images, 100 * window_means(followed.goes), label=name, linewidth=1)
      thresholds.plot(followed.threshold, label=name, linewidth=0.5)
      change = len(followed.goes) // 2
    low, high = 100 * (TARGET - TOLERANCE), 100 * (TARGET + TOLERANCE)
    shares.axhspan(low, high, color="black", alpha=0.08, label="within 2 points of the target")
    shares.set_ylabel(f"sent of the newest {WINDOW:,} images [%]")
    shares.set_title(run)
    thresholds.set_ylabel("normalised threshold")
    thresholds.set_xlabel("images (dotted: they become noisier and blurrier)")
    for axes in column:
      axes.axvline(change, color="black", linewidth=0.8, linestyle=":")
      axes.grid(alpha=0.3)
      axes.legend(loc="upper left")
  figure.savefig(path, dpi=100)


def heading(titles: tuple[str, ...]) -> list[str]:
  """The head of a table."""
  return ["", f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]


def add_flags(parser: Parser) -> None:
  """The benchmark's flags."""
  add_path(parser, "--data-dir", help="where prepared data sets lie")
  add_path(parser, "--workdir", action="append", help="evaluated runs; by default runs/digits")
  add_integer(parser, "--images", Range(10_000), default=20_000, help="in each half of the stream")
  add_integer(parser, "--orders", Range(2), default=5, help="orders of the stream, for the bandit")
  add_number(
    parser,
    "--noise",
    Range(0),
    default=20.0,
    help="of the second half: standard deviation, of 255",
  )
  add_number(
    parser,
    "--blur",
    Range(0),
    default=0.5,
    help="of the second half: see benchmarks/online_stream.py",
  )


def run(given: argparse.Namespace) -> None:
  """Simulates every run and writes the page."""
  shown, curves, sections = {}, {}, []
  for workdir in given.workdir or [DIGITS]:
    source = from_run(run_directory(workdir), ReadOptions(given.data_dir))
    name = source.config.dataset.name
    stream = make_stream(source, given.images, given.noise, given.blur)
    budget_lines, shown[name] = budget_rows(stream)
    bandit_lines, curves[name] = online_bandit.compare(stream, given.orders)
    edge, cloud = (
      [
        f"{100 * accuracy(part, np.full(len(part.uncertainty), sent)):.2f}%"
        for part in stream.halves
      ]
      for sent in (False, True)
    )
    sections += [
      "",
      f"## {name}",
      "",
      f"Accuracy of the edge alone {edge[0]}, then {edge[1]}; of the cloud {cloud[0]}, then "
      f"{cloud[1]}.",
      *heading(TITLES),
      *budget_lines,
      "",
      agreement_text(stream, shown[name][f"share, step {STEP:g}"].goes),
      *heading(online_bandit.TITLES),
      *bandit_lines,
    ]
    print("\n".join(sections), flush=True)
  page = Path(__file__)
  lines = [
    "# Staying within a budget while images change",
    "",
    f"{given.images:,} test images drawn with replacement as they are, then as many blurred and "
    f"with noise of {given.noise:g} of 255 (benchmarks/online_stream.py); the scores are the "
    "trained networks', and offloads are decided after the edge's answer (`offload` `late`), "
    'so both exits\' thresholds move. "Then" is after the change. Made by '
    "`python -m benchmarks.online_budget`.",
    "",
    f"Budgets: {100 * TARGET:.0f}% of images, and the bytes and energy that this share costs on "
    "the images as they are. The first threshold is the one that sends that share of them. Windows "
    f"are any {WINDOW:,} consecutive images, {SETTLING:,} images left out at the start and after "
    "the change (but not where the change is included). Settled: the first image after the change "
    "from which on every window is within 2 points (2% of the largest cost) or within 2% of the "
    "target. "
    "Guaranteed: for any images whatever, without any settling. Hindsight: the one threshold that "
    "sends as many of the same half.",
    "",
    f"Bandit: {len(online_bandit.ARMS)} thresholds, an offload costs "
    f"{online_bandit.OFFLOAD_COST:g} of confidence; mean ± standard deviation "
    f"over {given.orders} orders of each half. Regret is "
    "the reward (confidence, less that cost) behind the best fixed threshold of the whole stream; "
    "negative is better than it.",
    "",
    "![shares and thresholds](online_budget.png)",
    "![regret](online_bandit.png)",
    *sections,
    "",
    *measured_on(),
  ]
  write_text(page.with_suffix(".md"), "\n".join(lines))
  draw(page.with_suffix(".png"), shown)
  online_bandit.draw(page.with_name("online_bandit.png"), curves)


if __name__ == "__main__":
  sys.exit(run_script(__doc__, add_flags, run))
