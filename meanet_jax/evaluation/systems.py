"""Systems: MEANet and its baselines, with thresholds from validation and figures from test."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from meanet_jax.config.constraints import Constraints
from meanet_jax.config.schema import Config
from meanet_jax.cost.energy import BlockMacs, Number, image_cost, upload_bytes
from meanet_jax.evaluation.fitting import Fitted
from meanet_jax.routing.counts import Counts, count
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.operating_point import OperatingPoint
from meanet_jax.routing.policies import (
  Policy,
  Records,
  Route,
  Thresholds,
  fixed_thresholds,
  route,
)
from meanet_jax.selection.baselines import Oracle, Random, policy_baselines
from meanet_jax.selection.select import Points, select
from meanet_jax.selection.sweep import sweep, threshold_grid


@dataclasses.dataclass(frozen=True)
class Context:
  """What turns counts on a split into figures, and thresholds into operating points.

  fitted: beside thresholds, on selection images. num_images, num_hard_images: of the
  split, by true class.
  """

  config: Config
  macs: BlockMacs
  hard_classes: HardClasses
  fitted: Fitted
  num_images: int
  num_hard_images: int

  @classmethod
  def of(
    cls,
    config: Config,
    macs: BlockMacs,
    hard_classes: HardClasses,
    records: Records,
    fitted: Fitted = Fitted(),  # noqa: B008 - immutable
  ) -> "Context":
    """The context of the split that `records` cover."""
    return cls(config, macs, hard_classes, fitted, 0, 0).on(records)

  def on(self, records: Records) -> "Context":
    """The same for another split."""
    hard = int(self.hard_classes.mask[records.label].sum())
    return dataclasses.replace(self, num_images=len(records.label), num_hard_images=hard)

  @property
  def fixed(self) -> Thresholds:
    """The thresholds that are the same at every operating point."""
    return fixed_thresholds(self.config.routing.hard_threshold, self.fitted.run)


@dataclasses.dataclass(frozen=True)
class Curve:
  """A system's operating points on the test split, and the one selected on validation.

  thresholds, counts: arrays [t]. selected: an index into them. operating_point: the selected one;
  None of a system that decides by something else than uncertainty. unmet: why no threshold kept the
  constraints (`selected` is then the nearest); None when they are kept or nothing was to select.
  """

  policy: Policy
  thresholds: Thresholds
  counts: Counts
  selected: int
  operating_point: OperatingPoint | None
  unmet: str | None = None

  @property
  def is_swept(self) -> bool:
    """Whether there is more than one operating point."""
    return len(self.counts.correct) > 1


def policies(config: Config) -> dict[str, Policy]:
  """The systems of summary.json that are policies by name, baselines first."""
  routing = config.routing
  names = [field.name for field in dataclasses.fields(Policy)]
  meanet = Policy(**{name: getattr(routing, name) for name in names})
  return policy_baselines(meanet) | {"meanet": meanet}


def route_selected(point: OperatingPoint, records: Records) -> Route:
  """Where each image ends at an operating point; the temperatures are those of the records."""
  return route(point.policy, point.thresholds, records, point.hard_classes.mask)


def evaluate_systems(
  context: Context, validation: Records, test: Records, constraints: Constraints
) -> dict[str, Curve]:
  """Every system of summary.json, thresholds selected on validation, counts on test.

  Args:
    context: of the test split.
    validation: what thresholds are selected on; with a confidence, images that selected nothing
      else.
    test: what every figure is of.
    constraints: under which thresholds are selected.

  Raises:
    UserError: constraints that cannot be tested (see `select`).
  """
  systems = {
    name: sweep_system(policy, context, validation, test, constraints)
    for name, policy in policies(context.config).items()
  }
  meanet, fixed = systems["meanet"], context.fixed
  is_hard = context.hard_classes.mask
  rate = float(meanet.counts.cloud[meanet.selected] / len(test.label))
  random = Random(meanet.policy, rate)
  oracle = Oracle(meanet.policy).route(test, is_hard, fixed)
  at_random = random.expected_counts(test, is_hard, fixed)
  systems["random"] = _single(meanet.policy, at_random)
  systems["oracle"] = _single(meanet.policy, count(oracle, test, is_hard))
  return systems


def sweep_system(
  policy: Policy, context: Context, validation: Records, test: Records, constraints: Constraints
) -> Curve:
  """One policy's curve; the other arguments are those of `evaluate_systems`."""
  config, hard_classes = context.config, context.hard_classes
  compares = policy.offload in ("early", "late")
  num_thresholds = config.evaluation.num_thresholds if compares else 1
  grid = threshold_grid(policy, hard_classes, context.fixed, num_thresholds)

  def run(records: Records) -> Counts:
    arrays = jax.tree.map(jnp.asarray, records)
    mask = jnp.asarray(hard_classes.mask)
    counts = sweep(policy, jax.tree.map(jnp.asarray, grid), arrays, mask)
    return Counts(*map(np.asarray, counts))

  selected, unmet = 0, None
  if compares:
    points = _points(context.on(validation), policy, run(validation))
    selected, unmet = select(points, len(validation.label), constraints)
  point = OperatingPoint(
    policy,
    Thresholds(*(values[selected] for values in grid)),
    context.fitted.temperatures,
    hard_classes,
    context.fitted.fusion if policy.fuses else None,
  )
  return Curve(policy, grid, run(test), selected, point, unmet)


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


def _single(meanet: Policy, counts: Counts) -> Curve:
  """One operating point without thresholds, of a system whose edge is `meanet`'s."""
  none = np.full(1, np.nan, np.float32)
  counts = Counts(*map(np.atleast_1d, counts))
  return Curve(meanet, Thresholds(none, none, none, none), counts, 0, None)


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


def summary_entry(context: Context, system: Curve) -> dict[str, Any]:
  """A system's entry in summary.json, at its selected operating point."""
  counts = Counts(*(values[system.selected] for values in system.counts))
  entry = plain(figures(context, system.policy, counts))
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
