"""Systems beside an operating point that was selected from logits alone."""

import dataclasses
from typing import Any

import numpy as np

from meanet_jax.config.constraints import Constraints
from meanet_jax.evaluation.from_logits import LogitSelection
from meanet_jax.evaluation.limit_report import limit_report, untested
from meanet_jax.evaluation.points import joined, point_columns
from meanet_jax.evaluation.systems import Curve, System, summary_entry, sweep_system
from meanet_jax.evaluation.verdict import candidates, verdict
from meanet_jax.selection.baselines import policy_baselines


@dataclasses.dataclass(frozen=True)
class LogitSystems:
  """The selected system and those that it has to beat.

  system: the name of the selected one. curves: by name. points: as `Evaluation.points`. summary:
  what a run's summary.json says of them.
  """

  system: str
  curves: dict[str, Curve]
  points: dict[str, np.ndarray]
  summary: dict[str, Any]


def logit_systems(found: LogitSelection, constraints: Constraints, name: str) -> LogitSystems:
  """Main alone, the cloud alone and, with an extension, the edge and the two exits, measured too.

  On the images that `found` was tested on, or without any on those that selected.

  Args:
    found: what was selected.
    constraints: under which.
    name: of the images.
  """
  policy, context = found.curve.policy, found.context
  has_extension = policy.hard_rule != "never"
  selected = "meanet" if has_extension else "main_cloud"
  curves = {
    other: sweep_system(
      System(rules, found.fitted),
      context.on(found.validation_records.label),
      found.validation_records,
      found.curve.records,
      constraints,
    )
    for other, rules in policy_baselines(policy).items()
    if other != selected and (has_extension or other != "edge_only")
  } | {selected: found.curve}
  entries, columns = {}, {}
  for other, curve in curves.items():
    report = limit_report(context, curve, constraints)
    if found.test is None:
      report["limits"] = {field: untested(limit) for field, limit in report["limits"].items()}
    entries[other] = summary_entry(context, curve) | report
    columns[other] = point_columns(context, curve)
  summary = {
    "dataset": name,
    "split": "validation" if found.test is None else "test",
    "num_examples": context.num_images,
    "num_classes": context.hard_classes.num_classes,
    "constraints": constraints.to_json(),
    "cost": dataclasses.asdict(context.config.cost),
    "verdict": verdict(candidates(curves, constraints), constraints).to_json(),
    "systems": entries,
  }
  swept = {other: columns[other] for other, curve in curves.items() if curve.is_swept}
  return LogitSystems(selected, curves, joined("system", swept), summary)
