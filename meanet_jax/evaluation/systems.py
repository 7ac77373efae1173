"""Systems: MEANet and its baselines, with thresholds from validation and figures from test."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Shaped

from meanet_jax.config import Config
from meanet_jax.cost.energy import BlockMacs, image_cost, upload_bytes
from meanet_jax.routing.choose import choose
from meanet_jax.routing.policies import Policy, Records, Thresholds
from meanet_jax.routing.sweep import Counts, sweep, threshold_grid


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

  thresholds, counts: arrays [t]. chosen: an index into them.
  """

  policy: Policy
  thresholds: Thresholds
  counts: Counts
  chosen: int


def policies(config: Config) -> dict[str, Policy]:
  """The systems of summary.json by name, baselines first."""
  routing = config.routing
  meanet = Policy(routing.hard_rule, routing.edge_rule, routing.offload_rule, routing.criterion)
  return {
    "main_only": dataclasses.replace(meanet, hard_rule="never", offload_rule="never"),
    "edge_only": dataclasses.replace(meanet, offload_rule="never"),
    "cloud_only": dataclasses.replace(meanet, hard_rule="never", offload_rule="always"),
    "main_cloud": dataclasses.replace(meanet, hard_rule="never", offload_rule="main"),
    "meanet": meanet,
  }


def curve(
  policy: Policy,
  config: Config,
  validation: Records,
  test: Records,
  is_hard: Bool[np.ndarray, " c"],
) -> Curve:
  """Sweeps a policy over both splits and chooses a threshold on validation.

  A policy that compares no uncertainty has a single operating point.
  """
  compares = policy.offload_rule in ("main", "edge")
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

  chosen = 0
  if compares:
    chosen = choose(run(validation), len(validation.label), config.evaluation.max_offload)
  return Curve(policy, grid, run(test), chosen)


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
    main_runs=0.0 if policy.offload_rule == "always" else 1.0,
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
  counts = Counts(*(int(values[at]) for values in system.counts))
  entry = _plain(figures(context, system.policy, counts))
  policy = system.policy
  entry["thresholds"] = {
    "main": _threshold(system.thresholds.main[at], policy.offload_rule in ("main", "edge")),
    "extension": _threshold(system.thresholds.extension[at], policy.offload_rule == "edge"),
    "hard": _threshold(system.thresholds.hard[at], policy.hard_rule == "probability"),
  }
  return entry


def _threshold(value: np.floating, used: bool) -> float | None:
  return float(value) if used else None


def _ratio(part: Shaped[np.ndarray, "*t"] | int, whole: int) -> Any:
  # A split without a single hard (or easy) image has no such accuracy.
  return part / whole if whole else np.full(np.shape(part), np.nan)


def _plain(value: Any) -> Any:
  if isinstance(value, dict):
    return {name: _plain(item) for name, item in value.items()}
  number = float(value)
  return None if np.isnan(number) else number
