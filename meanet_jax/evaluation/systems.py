"""Systems: MEANet and its baselines, with thresholds from validation and figures from test."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from meanet_jax.config.constraints import Constraints
from meanet_jax.config.schema import Config
from meanet_jax.cost.energy import BlockMacs, Number, image_cost, upload_bytes
from meanet_jax.evaluation.fitting import Fitted
from meanet_jax.evaluation.records import LabelledLogits, make_records
from meanet_jax.routing.counts import Counts, count
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.operating_point import OperatingPoint
from meanet_jax.routing.policies import (
  PRESETS,
  Policy,
  Records,
  Route,
  Thresholds,
  fixed_thresholds,
  route,
)
from meanet_jax.selection.baselines import Oracle, Random, policy_baselines
from meanet_jax.selection.select import Points, excess, select
from meanet_jax.selection.sweep import sweep, threshold_grid


@dataclasses.dataclass(frozen=True)
class Context:
  """What turns counts on a split into figures.

  num_images, num_hard_images: of the split, by true class.
  """

  config: Config
  macs: BlockMacs
  hard_classes: HardClasses
  num_images: int
  num_hard_images: int

  @classmethod
  def of(
    cls,
    config: Config,
    macs: BlockMacs,
    hard_classes: HardClasses,
    labels: Int[np.ndarray, " n"],
  ) -> "Context":
    """The context of the split that has these labels."""
    return cls(config, macs, hard_classes, 0, 0).on(labels)

  def on(self, labels: Int[np.ndarray, " n"]) -> "Context":
    """The same for another split."""
    hard = int(self.hard_classes.mask[labels].sum())
    return dataclasses.replace(self, num_images=len(labels), num_hard_images=hard)

  def costing(self, macs: BlockMacs | None) -> "Context":
    """The same with what blocks cost; None leaves that as it is."""
    return self if macs is None else dataclasses.replace(self, macs=macs)


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
  [t]. selected: an index into them. operating_point: the selected one; None of a system that
  decides by something else than uncertainty. unmet: why no threshold kept the constraints
  (`selected` is then the nearest); None when they are kept or nothing was to select. excess: how
  far the selected point is from the constraints on validation, relative to them; 0 if it keeps
  them. macs: what its blocks cost, where another network is in main's place; None for the run's.
  """

  policy: Policy
  records: Records
  thresholds: Thresholds
  counts: Counts
  selected: int
  operating_point: OperatingPoint | None
  unmet: str | None = None
  excess: float = 0.0
  macs: BlockMacs | None = None

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
  oracle = Oracle(meanet.policy).route(test, is_hard, fixed)
  return {
    "random": _single(meanet, Random(meanet.policy, rate).expected_counts(test, is_hard, fixed)),
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
  selected, unmet, beyond = 0, None, 0.0
  if compares:
    on_validation = counts if validation is test else run(validation)
    points = _points(context.on(validation.label), policy, on_validation)
    selected, unmet = select(points, len(validation.label), constraints)
    beyond = float(excess(points, constraints)[selected])
  point = OperatingPoint(
    policy,
    Thresholds(*(values[selected] for values in grid)),
    system.fitted.temperatures,
    hard_classes,
    system.fitted.fusion if policy.fuses else None,
    system.fitted.gain if policy.learns else None,
  )
  return Curve(policy, test, grid, counts, selected, point, unmet, beyond)


def _points(context: Context, policy: Policy, counts: Counts) -> Points:
  values = figures(context, policy, counts)
  # No image can cost more than one that runs every block and is sent up as well.
  one = dataclasses.replace(context, num_images=1, num_hard_images=0)
  everything = figures(one, policy, Counts(1, 0, 0, 0, 1, 1))
  return Points(
    values["accuracy"],
    values["fraction"]["cloud"],
    values["energy_mj"],
    values["latency_ms"],
    float(everything["energy_mj"]),
    float(everything["latency_ms"]),
  )


def _single(meanet: Curve, counts: Counts) -> Curve:
  """One operating point without thresholds, of a system whose edge is `meanet`'s."""
  none = np.full(1, np.nan, np.float32)
  counts = Counts(*map(np.atleast_1d, counts))
  thresholds = Thresholds(none, none, none, none)
  return Curve(meanet.policy, meanet.records, thresholds, counts, 0, None)


def figures(context: Context, policy: Policy, counts: Counts) -> dict[str, Any]:
  """The figures of operating points: numbers where `counts` are scalars, arrays where arrays."""
  n, hard = context.num_images, context.num_hard_images
  easy = n - hard
  shares = {name: np.asarray(getattr(counts, name)) / n for name in ("main", "extension", "cloud")}
  cost = image_cost(
    context.config.cost,
    context.macs,
    upload_bytes(context.config.cost, context.config.dataset),
    # With `always` the raw image goes up before anything is computed.
    main_runs=0.0 if policy.offload == "always" else 1.0,
    extension_runs=np.asarray(counts.ran_extension) / n,
    offloads=shares["cloud"],
  )
  return {
    "accuracy": counts.correct / n,
    "hard_accuracy": _ratio(counts.hard_correct, hard),
    "easy_accuracy": _ratio(counts.correct - counts.hard_correct, easy),
    "fraction": shares,
    **dataclasses.asdict(cost),
  }


def selected_figures(context: Context, system: Curve) -> dict[str, Any]:
  """A system's figures at its selected operating point, as JSON has them."""
  counts = Counts(*(values[system.selected] for values in system.counts))
  return plain(figures(context.costing(system.macs), system.policy, counts))


def summary_entry(context: Context, system: Curve) -> dict[str, Any]:
  """A system's entry in summary.json, at its selected operating point."""
  entry = selected_figures(context, system)
  if system.operating_point is None:
    entry["thresholds"] = dict.fromkeys(Thresholds._fields)
  else:
    entry["operating_point"] = system.operating_point.to_json()
    entry["thresholds"] = entry["operating_point"]["thresholds"]
  if system.unmet is not None:
    entry |= {"unmet": system.unmet, "wish_unmet": system.unmet}  # under its earlier name as well
  return entry


def unmet_constraint(entry: dict[str, Any]) -> str | None:
  """Why the thresholds of a system's entry in summary.json break the constraints; None: kept."""
  return entry.get("unmet", entry.get("wish_unmet"))  # as earlier versions wrote it


def unmet_lines(entries: dict[str, dict[str, Any]]) -> list[str]:
  """A line for each system, by name, whose thresholds break the constraints."""
  found = {name: unmet_constraint(entry) for name, entry in entries.items()}
  return [f"{name}: {unmet}" for name, unmet in found.items() if unmet is not None]


def _ratio(part: Number, whole: int) -> Any:
  # A split without a single hard (or easy) image has no such accuracy.
  return part / whole if whole else np.full(np.shape(part), np.nan)


def plain(value: Any) -> Any:
  """Nested figures of one operating point as JSON has them: floats, and None for NaN."""
  if isinstance(value, dict):
    return {name: plain(item) for name, item in value.items()}
  number = float(value)
  return None if np.isnan(number) else number
