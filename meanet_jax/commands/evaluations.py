"""The evaluations of a run, each by its name with what it was asked and what came of it."""

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from meanet_jax import log
from meanet_jax.config.constraints import Constraints
from meanet_jax.config.parsing import to_json
from meanet_jax.errors import UserError
from meanet_jax.evaluation.unmet import unmet_constraint
from meanet_jax.files import read_json
from meanet_jax.runs.directory import RunDirectory

UNNAMED = "(no name)"


def run_evaluations(workdir: str | Path) -> list[dict[str, Any]]:
  """What `meanet summary --workdir` prints of a run's evaluations; the first has no name.

  name: null without one. constraints: those that were asked. device: the name of the profile, or
  null. cost: the constants that are not the run's. accuracy, sent, energy_mj, latency_ms: of
  `meanet` on the test split. unmet: why the constraints are not kept, or null. verdict: the
  system to deploy; null where none keeps them, and of an earlier version.

  Raises:
    UserError: no run, or a file that cannot be read.
  """
  run = RunDirectory.existing(workdir)
  configured = to_json(run.config())["cost"]
  rows = []
  for name, path in run.evaluations().items():
    try:
      rows.append({"name": name} | _row(path, configured))
    except (KeyError, TypeError, AttributeError) as error:
      raise UserError(
        f"{path} is no summary of an evaluation: {type(error).__name__} {error}; expected what "
        "meanet eval wrote"
      ) from error
  return rows


def _row(path: Path, configured: dict[str, Any]) -> dict[str, Any]:
  summary = read_json(path)
  meanet = summary["systems"]["meanet"]
  constraints = Constraints.from_json(summary["constraints"], f"{path}: constraints")
  # Earlier versions had no other costs than the run's.
  cost, profile = summary.get("cost", configured), summary.get("profile")
  verdict = summary.get("verdict", {"system": None})
  return {
    "constraints": constraints.given(),
    "device": None if profile is None else profile["name"],
    "cost": {key: value for key, value in cost.items() if configured.get(key) != value},
    "accuracy": meanet["accuracy"],
    "sent": meanet["fraction"]["cloud"],
    "energy_mj": meanet["energy_mj"],
    "latency_ms": meanet["latency_ms"],
    "unmet": unmet_constraint(meanet),
    "verdict": verdict["system"],
  }


def show_evaluations(workdir: str | Path, rows: list[dict[str, Any]]) -> None:
  """Prints `run_evaluations` as a table."""
  if not rows:
    command = f"meanet eval --workdir {quote(str(workdir))}"
    log.logger.info(f"{workdir} has no evaluation; {command} makes one")
    return
  log.table(
    f"{workdir}: evaluations, system meanet on the test split",
    (
      "name",
      "asked",
      "device",
      "costs",
      "accuracy [%]",
      "sent [%]",
      "energy [mJ]",
      "latency [ms]",
      "kept",
      "to deploy",
    ),
    (
      (
        UNNAMED if row["name"] is None else row["name"],
        _text(row["constraints"]),
        row["device"] or "-",
        _text(row["cost"]),
        f"{100 * row['accuracy']:.2f}",
        f"{100 * row['sent']:.2f}",
        f"{row['energy_mj']:.4g}",
        f"{row['latency_ms']:.4g}",
        "yes" if row["unmet"] is None else "no",
        row["verdict"] or "-",
      )
      for row in rows
    ),
  )


def _text(values: Mapping[str, Any]) -> str:
  return ", ".join(f"{key} {value}" for key, value in values.items()) or "-"
