"""What a grid found: grid.csv, grid.json, and which trial is best."""

import csv
import dataclasses
import io
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from meanet_jax.config.grid import GridConfig
from meanet_jax.config.stages import STAGE_NAMES
from meanet_jax.evaluation.unmet import unmet_constraint, unmet_lines
from meanet_jax.files import read_json
from meanet_jax.grid.compilation_groups import CompilationGroup
from meanet_jax.grid.points import Point, Settings
from meanet_jax.grid.trials import DIVERGED, SCORES, point_path

SYSTEMS = ("main_only", "edge_only", "cloud_only", "main_cloud", "paper", "meanet")


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What became of a trial.

  group: its number. scores: validation.json's contents. diverged: where its loss was not finite.
  Both are None of a trial that is not finished.
  """

  point: Point
  group: int
  scores: dict[str, Any] | None
  diverged: str | None

  @property
  def status(self) -> str:
    """`finished`, `diverged` or `unfinished`."""
    if self.diverged is not None:
      return "diverged"
    return "unfinished" if self.scores is None else "finished"

  def accuracy(self, system: str) -> float:
    """A system's accuracy on validation, of a finished trial."""
    assert self.scores is not None
    return self.scores["systems"][system]["accuracy"]

  def cell(self, system: str) -> float | None:
    """The same; None of an unfinished trial, or of a system that its scores have not."""
    known = self.scores is not None and system in self.scores["systems"]
    return self.accuracy(system) if known else None

  def unmet(self, system: str) -> str | None:
    """Why a system's thresholds break the constraints; None if they do not, or are not known."""
    return None if self.scores is None else unmet_constraint(self.scores["systems"][system])


@dataclasses.dataclass(frozen=True)
class Setting:
  """Trials that differ in nothing but their seed.

  settings: their common fields. outcomes: all of them. mean, spread: of the finished ones' accuracy
  on validation, the spread a standard deviation, None of a single one; mean None without any.
  unmet: why the thresholds of one of them break the constraints; None if all keep them.
  """

  settings: Settings
  outcomes: tuple[Outcome, ...]
  mean: float | None
  spread: float | None
  unmet: str | None = None


def read_outcomes(workdir: Path, groups: Sequence[CompilationGroup]) -> list[Outcome]:
  """What every trial left, in the order of the points."""
  outcomes = [
    Outcome(
      point,
      group.number,
      read_json(path / SCORES) if (path / SCORES).exists() else None,
      read_json(path / DIVERGED)["message"] if (path / DIVERGED).exists() else None,
    )
    for group in groups
    for point in group.points
    for path in (point_path(workdir, point),)
  ]
  return sorted(outcomes, key=lambda outcome: outcome.point.number)


def average_seeds(outcomes: Sequence[Outcome], system: str) -> list[Setting]:
  """The settings of a grid, in the order of their first points, with a system's accuracies."""
  by_settings: dict[str, list[Outcome]] = {}
  for outcome in outcomes:
    by_settings.setdefault(repr(_without_seed(outcome.point.settings)), []).append(outcome)
  settings = []
  for found in by_settings.values():
    values = [o.accuracy(system) for o in found if o.status == "finished"]
    settings.append(
      Setting(
        _without_seed(found[0].point.settings),
        tuple(found),
        statistics.mean(values) if values else None,
        statistics.stdev(values) if len(values) > 1 else None,
        next((text for o in found if (text := o.unmet(system)) is not None), None),
      )
    )
  return settings


def best_setting(settings: Sequence[Setting]) -> Setting | None:
  """The one of the highest mean, among those without a diverged or unfinished trial.

  A setting that only some seeds survive is no answer to which is best; the first of equals wins.
  Nor is one that breaks its constraints, as by sending every image, while another keeps them.
  """
  finished = [s for s in settings if all(o.status == "finished" for o in s.outcomes)]
  kept = [s for s in finished if s.unmet is None]
  return max(kept or finished, key=lambda setting: setting.mean or 0.0, default=None)


def best_outcome(setting: Setting, system: str) -> Outcome:
  """The best trial of a setting, the first of equals."""
  return max(setting.outcomes, key=lambda outcome: outcome.accuracy(system))


def grid_csv(outcomes: Sequence[Outcome], workdir: Path) -> str:
  """A line for each trial: its fields, what became of it, and its accuracies on validation."""
  fields = list(outcomes[0].point.settings)
  trained = {name for outcome in outcomes for name in outcome.point.config.stage_names}
  names = [name for name in STAGE_NAMES if name in trained]
  columns = [
    "point",
    "group",
    *fields,
    "status",
    *(f"{stage}_validation_accuracy" for stage in names),
    *(f"{system}_validation_accuracy" for system in SYSTEMS),
    "unmet",
    "workdir",
  ]
  text = io.StringIO()
  writer = csv.writer(text, lineterminator="\n")
  writer.writerow(columns)
  for outcome in outcomes:
    stages = outcome.scores["stages"] if outcome.scores else {}
    writer.writerow(
      [
        outcome.point.number,
        outcome.group,
        *outcome.point.settings.values(),
        outcome.status,
        *(stages.get(stage) for stage in names),
        *map(outcome.cell, SYSTEMS),
        "; ".join(unmet_lines(outcome.scores["systems"])) if outcome.scores else "",
        point_path(workdir, outcome.point).relative_to(workdir),
      ]
    )
  return text.getvalue()


def outcomes_json(outcomes: Sequence[Outcome], workdir: Path) -> list[dict[str, Any]]:
  """The trials as grid.json holds them."""
  return [
    {
      "point": outcome.point.number,
      "group": outcome.group,
      "settings": outcome.point.settings,
      "status": outcome.status,
      "diverged": outcome.diverged,
      "workdir": str(point_path(workdir, outcome.point).relative_to(workdir)),
      "validation": outcome.scores,
    }
    for outcome in outcomes
  ]


def best_json(
  setting: Setting, grid: GridConfig, workdir: Path, test: dict[str, Any] | None
) -> dict[str, Any]:
  """The best as grid.json holds it.

  Args:
    setting: the best one.
    grid: by which system.
    workdir: of the grid.
    test: the best trial's systems on the test split; None before it is evaluated.
  """
  outcome = best_outcome(setting, grid.best_by)
  return {
    "by": f"accuracy of {grid.best_by} on validation, mean over seeds",
    "settings": setting.settings,
    "mean": setting.mean,
    "spread": setting.spread,
    "unmet": setting.unmet,
    "points": [o.point.number for o in setting.outcomes],
    "point": outcome.point.number,
    "validation_accuracy": outcome.accuracy(grid.best_by),
    "workdir": str(point_path(workdir, outcome.point).relative_to(workdir)),
    "test": test,
  }


def _without_seed(settings: Settings) -> Settings:
  return {name: value for name, value in settings.items() if name != "seed"}
