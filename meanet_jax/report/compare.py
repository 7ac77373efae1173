"""Several evaluated runs in one report: mean and spread over runs."""

import csv
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from meanet_jax import log
from meanet_jax.config.constraints import Constraints
from meanet_jax.errors import UserError
from meanet_jax.evaluation.unmet import unmet_lines
from meanet_jax.files import read_json, write_json, write_text
from meanet_jax.log import logger
from meanet_jax.report.figure_text import undrawable_warning
from meanet_jax.report.figures import draw_bands
from meanet_jax.report.page.comparison import Comparison, comparison_page
from meanet_jax.runs.directory import SUMMARY, RunDirectory
from meanet_jax.runs.lock import held

# Field of a system's entry, title, factor.
COLUMNS = (
  ("accuracy", "accuracy [%]", 100),
  ("hard_accuracy", "hard [%]", 100),
  ("easy_accuracy", "easy [%]", 100),
  ("cloud", "cloud [%]", 100),
  ("macs_edge", "edge kMAC", 1e-3),
  ("energy_mj", "energy [uJ]", 1e3),
)
OFFLOADS = np.linspace(0, 1, 101)


def compare(workdirs: list[str], output: str | Path, name: str | None = None) -> None:
  """Writes comparison.json, a figure with bands and comparison.html to `output`.

  Args:
    workdirs: evaluated runs of one data set, at least two.
    output: directory, made when missing.
    name: of the evaluation of each that is compared; None for that without a name.

  Raises:
    UserError: a run without evaluation, one that is given twice, runs of different data sets,
      constraints of another version, or an output that is in use or cannot be written.
  """
  runs = [RunDirectory.existing(workdir) for workdir in workdirs]
  places = [run.path.resolve() for run in runs]
  for workdir, place in zip(workdirs, places, strict=True):
    if places.count(place) > 1:
      raise UserError(f"workdir {workdir} is given twice; accepted: different runs")
  evaluations = [run.evaluation_path(name) for run in runs]
  summaries = [read_json(path / SUMMARY) for path in evaluations]
  of_runs = dict(zip(workdirs, summaries, strict=True))
  constraints = {
    workdir: str(Constraints.from_json(summary.get("constraints"), f"{workdir}: constraints"))
    for workdir, summary in of_runs.items()
  }
  for key in ("dataset", "num_classes", "num_examples"):
    found = {summary[key] for summary in summaries}
    if len(found) > 1:
      raise UserError(f"runs differ in {key}: {sorted(found)}; accepted: runs of one data set")
  with held(Path(output), "output"):
    _compare(evaluations, of_runs, constraints, Path(output))


def _compare(
  evaluations: list[Path],
  of_runs: dict[str, dict[str, Any]],
  constraints: dict[str, str],
  out: Path,
) -> None:
  workdirs, summaries = list(of_runs), list(of_runs.values())
  common = [
    name for name in summaries[0]["systems"] if all(name in s["systems"] for s in summaries)
  ]
  entries = {name: [summary["systems"][name] for summary in summaries] for name in common}
  spreads = {name: dict(_spreads(rows)) for name, rows in entries.items()}
  unmet = [
    f"{workdir}: {line}"
    for workdir, summary in of_runs.items()
    for line in unmet_lines(summary["systems"])
  ]
  bands = {
    name: np.stack([_accuracy_at(path / "operating_points.csv", name) for path in evaluations])
    for name in ("main_cloud", "paper", "meanet", "static_cloud")
    if name in common  # earlier versions evaluated no `paper`, and not every run has `static_cloud`
  }
  at_offload = {
    name: {
      "mean": _reached(values.mean(axis=0)),
      "standard_deviation": _reached(values.std(axis=0, ddof=1)),
    }
    for name, values in bands.items()
  }
  write_json(
    out / "comparison.json",
    {
      "runs": workdirs,
      "systems": spreads,
      "offload": OFFLOADS.tolist(),
      "accuracy_at_offload": at_offload,
      "unmet": unmet,
    },
  )
  draw_bands(out, OFFLOADS, bands, summaries[0]["dataset"])
  rows = [[name, *_cells(values)] for name, values in spreads.items()]
  titles = [title for _, title, _ in COLUMNS]
  page = comparison_page(Comparison(of_runs, constraints, titles, rows, unmet, at_offload))
  write_text(out / "comparison.html", page)
  log.table(
    f"{len(workdirs)} runs: mean ± standard deviation",
    ("system", *titles),
    rows,
  )
  for percent in (5, 10, 20):
    accuracies = []
    for name, spread in at_offload.items():
      mean, deviation = spread["mean"][percent], spread["standard_deviation"][percent]
      found = (
        "-" if mean is None or deviation is None else f"{100 * mean:.2f} ± {100 * deviation:.2f}"
      )
      accuracies.append(f"{name} {found}")
    logger.info(f"accuracy [%] with {percent}% of the test images sent: {', '.join(accuracies)}")
  if len(set(constraints.values())) > 1:
    different = "; ".join(constraints.values())
    logger.info(f"thresholds were selected under different constraints: {different}")
  if boxes := undrawable_warning([summaries[0]["dataset"]]):
    logger.warning(boxes)
  logger.info(f"comparison is in {out}")
  for warning in unmet:
    logger.warning(warning)


def _spreads(rows: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, float] | None]]:
  for field, _, _ in COLUMNS:
    values = [row["fraction"][field] if field == "cloud" else row[field] for row in rows]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
      yield field, None
    else:
      spread = statistics.stdev(known) if len(known) > 1 else 0.0
      yield field, {"mean": statistics.mean(known), "standard_deviation": spread}


def _cells(values: dict[str, dict[str, float] | None]) -> list[str]:
  cells = []
  for field, _, factor in COLUMNS:
    spread = values[field]
    if spread is None:
      cells.append("-")
    else:
      mean, deviation = factor * spread["mean"], factor * spread["standard_deviation"]
      cells.append(f"{mean:.2f} ± {deviation:.2f}")
  return cells


def _accuracy_at(path: Path, system: str) -> np.ndarray:
  """Accuracy of a swept system at the offloads `OFFLOADS`, interpolated between its points.

  NaN at shares that no threshold sends: images whose uncertainty is 0 are never sent.
  """
  try:
    with path.open() as file:
      points = [row for row in csv.DictReader(file) if row["system"] == system]
  except OSError as error:
    raise UserError(f"{path} cannot be read; accepted: a run that meanet eval evaluated") from error
  offload = np.array([float(row["fraction_cloud"]) for row in points])
  accuracy = np.array([float(row["accuracy"]) for row in points])
  order = np.argsort(offload, kind="stable")
  return np.interp(OFFLOADS, offload[order], accuracy[order], left=np.nan, right=np.nan)


def _reached(values: np.ndarray) -> list[float | None]:
  """As JSON has them: None at shares that not every run reaches."""
  return [None if np.isnan(value) else value for value in values.tolist()]
