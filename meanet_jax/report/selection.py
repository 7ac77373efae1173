"""What was selected from logits alone: the table in the terminal, and the files of a directory."""

import dataclasses
from pathlib import Path
from typing import Any

from meanet_jax import log
from meanet_jax.config.constraints import FIGURES, Constraints
from meanet_jax.evaluation.from_logits import Costs, LogitSelection
from meanet_jax.files import write_json, write_text, writing
from meanet_jax.report.limits import bound_words, show_limits
from meanet_jax.report.tables import COLUMNS, figure_text, operating_points_csv
from meanet_jax.runs.lock import held

# Those that there is nothing to say of without an extension.
_OF_EXTENSIONS = ("hard_accuracy", "easy_accuracy", "extension")


def show_selection(found: LogitSelection, constraints: Constraints) -> None:
  """Prints what was asked, and what the operating point achieves on both parts, as a table."""
  parts = (found.validation, found.test)
  images = ["images", "", *("-" if part is None else str(part["num_examples"]) for part in parts)]
  rows = [images]
  has_extension = found.operating_point.policy.hard_rule != "never"
  for column, title in COLUMNS:
    if column in _OF_EXTENSIONS and not has_extension:
      continue
    values = (None if part is None else (part | part["fraction"])[column] for part in parts)
    asked = _asked(column, constraints)
    rows.append([title, asked, *(figure_text(column, value) for value in values)])
  log.table(f"operating point, {_rules(found)}", ("figure", "asked", "validation", "test"), rows)
  thresholds = found.operating_point.to_json()["thresholds"].items()
  used = [f"{name} {value:.6g}" for name, value in thresholds if value is not None]
  log.logger.info(f"thresholds: {', '.join(used)}")
  entry = {"limits": found.limits, "noise": found.noise, "thresholds": dict(thresholds)}
  show_limits("selected", entry)
  if constraints.offload_penalty is not None:
    log.logger.info(f"offload penalty: {constraints.offload_penalty:g}")
  if constraints.confidence is not None and found.unmet is None:
    log.logger.info(f"limits hold on new images with confidence {constraints.confidence:g}")


def write_selection(
  out: Path, found: LogitSelection, constraints: Constraints, costs: Costs
) -> None:
  """Writes figures, report.html, tables and last operating_point.json, each completely.

  Raises:
    UserError: a directory that cannot be written, or that another process is writing.
  """
  # In here, for drawing takes seconds to import, and nothing is drawn without a directory.
  from meanet_jax.report.selection_page import write_figures_and_page

  with held(out, "--output"), writing(f"--output {out}"):
    write_figures_and_page(out, found, constraints)
    write_text(out / "operating_points.csv", operating_points_csv(found.points))
    write_json(out / "summary.json", _summary(found, constraints, costs))
    write_json(out / "operating_point.json", found.operating_point.to_json())
  log.logger.info(f"the operating point and its figures are in {out}")


def _summary(found: LogitSelection, constraints: Constraints, costs: Costs) -> dict[str, Any]:
  return {
    "policy": dataclasses.asdict(found.operating_point.policy),
    "num_classes": found.operating_point.hard_classes.num_classes,
    "constraints": constraints.to_json(),
    "unmet": found.unmet,
    "validation": found.validation,
    "test": found.test,
    "limits": found.limits,
    "noise": found.noise,
    "costs": dataclasses.asdict(costs),
  }


def _asked(column: str, constraints: Constraints) -> str:
  for name, limit in constraints.to_json().items():
    if FIGURES.get(name) == column and limit is not None:
      return f"{bound_words(name)} {figure_text(column, limit)}"
  return ""


def _rules(found: LogitSelection) -> str:
  policy = dataclasses.asdict(found.operating_point.policy)
  return ", ".join(f"{name} {rule}" for name, rule in policy.items())
