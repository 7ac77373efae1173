"""Systems: MEANet and its baselines, with thresholds from validation and figures from test."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from meanet_jax.config.constraints import Constraints
from meanet_jax.cost.device import cost_basis
from meanet_jax.cost.energy import BlockMacs
from meanet_jax.evaluation.context import Context, cost_shares, figures, plain
from meanet_jax.evaluation.fitting import Fitted
from meanet_jax.evaluation.records import LabelledLogits, make_records
from meanet_jax.evaluation.unmet import unmet_entry
from meanet_jax.routing.counts import Counts, count
from meanet_jax.routing.operating_point import OperatingPoint
from meanet_jax.routing.policies import PRESETS, Policy, Thresholds, fixed_thresholds
from meanet_jax.routing.rules import Records, Route, route
from meanet_jax.selection.alternatives import Outcome
from meanet_jax.selection.baselines import oracle_route, policy_baselines, random_counts
from meanet_jax.selection.class_counts import class_counts
from meanet_jax.selection.limits import Points, excess
from meanet_jax.selection.select import Selection, select
from meanet_jax.selection.sweep import sweep, threshold_grid


class System(NamedTuple):
  """A policy, and what was fitted for it beside thresholds."""

  policy: Policy
  fitted: Fitted = Fitted()


# The paper's rules on logits as they are, whatever the configuration says.
PAPER = System(PRESETS["paper"])


@dataclasses.dataclass(frozen=True)
class Curve:
  """A system's operating points on the test split, and the one selected on validation.

  records: of the test split, with the system's temperatures and weights. thresholds, counts: arrays
  [t]. operating_point: the selected one; None of a system that decides by something else than
  uncertainty. on_validation, excess, selection: the same points on the images that select, how far
  each is from the constraints there, and which is selected; None of such a system.
  macs: what its blocks cost, where another network is in main's place; None for the run's.
  """

  policy: Policy
  records: Records
  thresholds: Thresholds
  counts: Counts
  operating_point: OperatingPoint | None = None
  on_validation: Points | None = None
  excess: Float[np.ndarray, " t"] | None = None
  selection: Selection | None = None
  macs: BlockMacs | None = None

  @property
  def selected(self) -> int:
    """The number of the operating point that was selected on validation."""
    return 0 if self.selection is None else self.selection.point

  @property
  def unmet(self) -> str | None:
    """Why no threshold keeps the constraints (the nearest is selected then); None if one does, or
    if there is none to select.
    """
    return self.selection.unmet if self.selection is not None and self.is_swept else None

  @property
  def fixed(self) -> Thresholds:
    """The thresholds that are the same at every operating point."""
    return fixed_thresholds(self.thresholds.hard[0], self.thresholds.run[0])

  @property
  def is_swept(self) -> bool:
    """Whether there is more than one operating point."""
    return len(self.counts.correct) > 1


def systems_beside(meanet: System) -> dict[str, System]:
  """The systems of summary.json that are policies by name: baselines, `paper` and `meanet`.

  A baseline's logits are divided by MEANet's temperatures; `paper` has none.
  """
  baselines = policy_baselines(meanet.policy)
  return {
    **{name: System(policy, meanet.fitted) for name, policy in baselines.items()},
    "paper": PAPER,
    "meanet": meanet,
  }


def route_selected(point: OperatingPoint, records: Records) -> Route:
  """Where each image ends at an operating point; the temperatures are those of the records."""
  return route(point.policy, point.thresholds, records, point.hard_classes.mask)


def counts_and_figures(
  context: Context, point: OperatingPoint, records: Records
) -> tuple[Counts, dict[str, Any]]:
  """What an operating point does with the images of a split: counts, and their `figures`.

  Args:
    context: whose costs are meant; of any split.
    point: policy and thresholds.
    records: of the split, with the point's temperatures and weights.
  """
  counts = count(route_selected(point, records), records, point.hard_classes.mask)
  return counts, figures(context.on(np.asarray(records.label)), point.policy, counts)


def evaluate_systems(
  meanet: System,
  context: Context,
  validation: LabelledLogits,
  test: LabelledLogits,
  constraints: Constraints,
) -> dict[str, Curve]:
  """Every system of summary.json, thresholds selected on validation, counts on test.

  Args:
    meanet: beside which the others are.
    context: of the test split.
    validation: what thresholds are selected on; with a confidence, images that selected nothing
      else.
    test: what every figure is of.
    constraints: under which thresholds are selected.

  Raises:
    UserError: constraints that cannot be tested (see `select`).
  """
  made: dict[Any, tuple[Records, Records]] = {}
  curves = {}
  for name, system in systems_beside(meanet).items():
    decisive = system.fitted.of_logits
    if decisive not in made:
      made[decisive] = (
        make_records(*validation, context.hard_classes, *decisive),
        make_records(*test, context.hard_classes, *decisive),
      )
    curves[name] = sweep_system(system, context, *made[decisive], constraints)
  return curves | _without_threshold(curves["meanet"], context)


def _without_threshold(meanet: Curve, context: Context) -> dict[str, Curve]:
  """The systems that send images of MEANet's edge by something else than uncertainty."""
  is_hard, test, fixed = context.hard_classes.mask, meanet.records, meanet.fixed
  rate = float(meanet.counts.cloud[meanet.selected] / len(test.label))
  oracle = oracle_route(meanet.policy, test, is_hard, fixed)
  return {
    "random": _single(meanet, random_counts(meanet.policy, rate, test, is_hard, fixed)),
    "oracle": _single(meanet, count(oracle, test, is_hard)),
  }


def sweep_system(
  system: System, context: Context, validation: Records, test: Records, constraints: Constraints
) -> Curve:
  """One system's curve.

  Args:
    system: its policy and what was fitted for it.
    context, constraints: as in `evaluate_systems`.
    validation, test: records with the system's temperatures and weights.
  """
  config, hard_classes, policy = context.config, context.hard_classes, system.policy
  compares = policy.offload in ("early", "late")
  num_thresholds = config.evaluation.num_thresholds if compares else 1
  fixed = fixed_thresholds(config.routing.hard_threshold, system.fitted.run)
  grid = threshold_grid(policy, hard_classes, fixed, num_thresholds)

  def run(records: Records) -> Counts:
    arrays = jax.tree.map(jnp.asarray, records)
    mask = jnp.asarray(hard_classes.mask)
    counts = sweep(policy, jax.tree.map(jnp.asarray, grid), arrays, mask)
    return Counts(*map(np.asarray, counts))

  counts = run(test)
  on_validation = counts if validation is test else run(validation)
  points = measured_points(context.on(validation.label), policy, on_validation, constraints)
  if constraints.needs_classes:
    points = dataclasses.replace(
      points,
      class_correct=class_counts(policy, grid, validation, hard_classes),
      class_images=np.bincount(validation.label, minlength=hard_classes.num_classes),
    )
  selection = select(points, len(validation.label), constraints)
  point = OperatingPoint(
    policy,
    Thresholds(*(values[selection.point] for values in grid)),
    system.fitted.temperatures,
    hard_classes,
    system.fitted.fusion if policy.fuses else None,
    system.fitted.gain if policy.learns else None,
  )
  beyond = excess(points, constraints)
  return Curve(policy, test, grid, counts, point, points, beyond, selection)


def measured_points(
  context: Context, policy: Policy, counts: Counts, constraints: Constraints
) -> Points:
  """Operating points as the selection has them, but for figures of single classes.

  Args:
    context: of the split that is counted.
    policy: the rules.
    counts: arrays [t].
    constraints: what has to be known of them.
  """
  values = figures(context, policy, counts)
  # No image can cost more than one that runs every block and is sent up as well.
  one = dataclasses.replace(context, num_images=1, num_hard_images=0)
  everything = figures(one, policy, Counts(1, 0, 0, 0, 1, 1, 1))
  limit, late = constraints.max_latency_p95_ms, None
  if limit is not None:
    late = context.cost_model.late_share(cost_shares(context, policy, counts), limit)
  return Points(
    accuracy=values["accuracy"],
    offload=values["fraction"]["cloud"],
    energy_mj=values["energy_mj"],
    latency_ms=values["latency_ms"],
    worst_energy_mj=float(everything["energy_mj"]),
    worst_latency_ms=float(everything["latency_ms"]),
    bytes_up=values["bytes_up"],
    image_bytes=float(everything["bytes_up"]),
    latency_p95_ms=values["latency_p95_ms"],
    late=late,
    # With a profile, times vary between images of a route.
    late_is_counted=context.profile is None,
  )


def outcome(system: Curve) -> Outcome:
  """What a system achieves on the images that its operating point was selected on."""
  points, selection = system.on_validation, system.selection
  assert points is not None
  assert selection is not None
  assert system.excess is not None
  point = selection.point
  return Outcome(
    float(points.accuracy[point]),
    float(points.offload[point]),
    float(points.energy_mj[point]),
    float(system.excess[point]),
    float(points.accuracy[selection.highest]),
    selection.standard_error,
  )


def _single(meanet: Curve, counts: Counts) -> Curve:
  """One operating point without thresholds, of a system whose edge is `meanet`'s."""
  none = np.full(1, np.nan, np.float32)
  counts = Counts(*map(np.atleast_1d, counts))
  thresholds = Thresholds(none, none, none, none)
  return Curve(meanet.policy, meanet.records, thresholds, counts)


def selected_figures(context: Context, system: Curve) -> dict[str, Any]:
  """A system's figures at its selected operating point, as JSON has them."""
  counts = Counts(*(values[system.selected] for values in system.counts))
  return plain(figures(context.costing(system.macs), system.policy, counts))


def summary_entry(context: Context, system: Curve) -> dict[str, Any]:
  """A system's entry in summary.json, at its selected operating point."""
  entry = selected_figures(context, system)
  basis = cost_basis(context.profile)
  # Nothing was measured on another network than the run's.
  entry["cost_basis"] = basis if system.macs is None else dict.fromkeys(basis, "estimated")
  if system.operating_point is None:
    entry["thresholds"] = dict.fromkeys(Thresholds._fields)
  else:
    entry["operating_point"] = system.operating_point.to_json()
    entry["thresholds"] = entry["operating_point"]["thresholds"]
  return entry if system.unmet is None else entry | unmet_entry(system.unmet)
