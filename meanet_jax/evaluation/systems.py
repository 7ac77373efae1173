"""Systems: MEANet and its baselines, with thresholds from validation and figures from test."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool

from meanet_jax.config.schema import Config
from meanet_jax.cost.energy import BlockMacs, Number, image_cost, upload_bytes
from meanet_jax.routing.counts import Counts, count
from meanet_jax.routing.policies import Policy, Records, Thresholds
from meanet_jax.selection.baselines import Oracle, Random, policy_baselines
from meanet_jax.selection.select import Constraints, Points, select
from meanet_jax.selection.sweep import sweep, threshold_grid


@dataclasses.dataclass(frozen=True)
class Context:
  """What turns counts on a split into figures.

  is_hard: bool [c]. num_images, num_hard_images: of the split, by true class.
  """

  config: Config
  macs: BlockMacs
  is_hard: Bool[np.ndarray, " c"]
  num_images: int
  num_hard_images: int

  @classmethod
  def of(
    cls, config: Config, macs: BlockMacs, is_hard: Bool[np.ndarray, " c"], records: Records
  ) -> "Context":
    """The context of the split that `records` cover."""
    return cls(config, macs, is_hard, len(records.label), int(is_hard[records.label].sum()))


@dataclasses.dataclass(frozen=True)
class Curve:
  """A system's operating points on the test split, and the one chosen on validation.

  thresholds, counts: arrays [t]. chosen: an index into them. unmet: why no threshold kept the wish
  (`chosen` is then the nearest); None when it is kept or nothing was to be chosen.
  """

  policy: Policy
  thresholds: Thresholds
  counts: Counts
  chosen: int
  unmet: str | None = None


def policies(config: Config) -> dict[str, Policy]:
  """The systems of summary.json that are policies by name, baselines first."""
  routing = config.routing
  meanet = Policy(routing.hard_rule, routing.edge_rule, routing.offload, routing.criterion)
  return policy_baselines(meanet) | {"meanet": meanet}


def evaluate_systems(
  config: Config,
  macs: BlockMacs,
  is_hard: Bool[np.ndarray, " c"],
  validation: Records,
  test: Records,
  constraints: Constraints,
) -> dict[str, Curve]:
  """Every system of summary.json, thresholds chosen on validation, counts on test.

  Args:
    config, macs: what images cost, and the rules.
    is_hard: [c].
    validation: what thresholds are chosen on; with a confidence, images that chose nothing else.
    test: what every figure is of.
    wish: under which thresholds are chosen.

  Raises:
    UserError: a wish that cannot be tested (see `choose`).
  """
  on_validation = Context.of(config, macs, is_hard, validation)
  systems = {
    name: _curve(policy, on_validation, validation, test, constraints)
    for name, policy in policies(config).items()
  }
  meanet, hard_threshold = systems["meanet"], config.routing.hard_threshold
  rate = float(meanet.counts.cloud[meanet.chosen] / len(test.label))
  random = Random(meanet.policy, rate)
  oracle = Oracle(meanet.policy).route(test, is_hard, hard_threshold)
  at_random = random.expected_counts(test, is_hard, hard_threshold)
  systems["random"] = _single(meanet.policy, at_random)
  systems["oracle"] = _single(meanet.policy, count(oracle, test, is_hard))
  return systems


def _curve(
  policy: Policy,
  on_validation: Context,
  validation: Records,
  test: Records,
  constraints: Constraints,
) -> Curve:
  config, is_hard = on_validation.config, on_validation.is_hard
  compares = policy.offload in ("early", "late")
  grid = threshold_grid(
    policy.criterion,
    config.dataset.num_classes,
    config.num_hard,
    config.evaluation.num_thresholds if compares else 1,
    config.routing.hard_threshold,
  )

  def run(records: Records) -> Counts:
    arrays = jax.tree.map(jnp.asarray, records)
    counts = sweep(policy, jax.tree.map(jnp.asarray, grid), arrays, jnp.asarray(is_hard))
    return Counts(*map(np.asarray, counts))

  if not compares:
    return Curve(policy, grid, run(test), 0)
  points = _points(on_validation, policy, run(validation))
  chosen = select(points, len(validation.label), constraints)
  return Curve(policy, grid, run(test), chosen.point, chosen.unmet)


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
  return Curve(meanet, Thresholds(none, none, none), Counts(*map(np.atleast_1d, counts)), 0)


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
  """A system's entry in summary.json, at its chosen operating point."""
  at = system.chosen
  counts = Counts(*(values[at] for values in system.counts))
  entry = _plain(figures(context, system.policy, counts))
  policy = system.policy
  entry["thresholds"] = {
    "main": _threshold(system.thresholds.main[at], policy.offload in ("early", "late")),
    "extension": _threshold(system.thresholds.extension[at], policy.offload == "late"),
    "hard": _threshold(system.thresholds.hard[at], policy.hard_rule == "probability"),
  }
  if system.unmet is not None:
    entry["wish_unmet"] = system.unmet
  return entry


def unmet_constraint(entry: dict[str, Any]) -> str | None:
  """Why the thresholds of a system's entry in summary.json break the constraints; None: kept."""
  return entry.get("wish_unmet")


def unmet_lines(entries: dict[str, dict[str, Any]]) -> list[str]:
  """A line for each system, by name, whose thresholds break the constraints."""
  found = {name: unmet_constraint(entry) for name, entry in entries.items()}
  return [f"{name}: {unmet}" for name, unmet in found.items() if unmet is not None]


def _threshold(value: np.floating, used: bool) -> float | None:
  return float(value) if used and not np.isnan(value) else None


def _ratio(part: Number, whole: int) -> Any:
  # A split without a single hard (or easy) image has no such accuracy.
  return part / whole if whole else np.full(np.shape(part), np.nan)


def _plain(value: Any) -> Any:
  if isinstance(value, dict):
    return {name: _plain(item) for name, item in value.items()}
  number = float(value)
  return None if np.isnan(number) else number
