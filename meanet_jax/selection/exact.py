"""Exact operating points: every one that exists, from a sort and cumulative sums.

A grid misses points between its thresholds; here there is one point per distinct uncertainty. Only
the order of uncertainties matters, so the work is that of sorting.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from meanet_jax.errors import UserError
from meanet_jax.routing.counts import Counts
from meanet_jax.routing.policies import (
  CLOUD,
  EXTENSION,
  MAIN,
  Policy,
  Records,
  Route,
  Thresholds,
  route,
)
from meanet_jax.routing.scores import uncertainty

Mask = Bool[np.ndarray, " n"]


class ExactCurve(NamedTuple):
  """Operating points of a one-threshold policy, from everything offloaded to nothing.

  threshold: float32 [m], increasing; main's and the extension's alike. m is at most n + 1.
  counts: int [m].
  """

  threshold: Float[np.ndarray, " m"]
  counts: Counts


class Front(NamedTuple):
  """The Pareto front of a two-threshold policy: more offloads, and more correct answers.

  main, extension: float32 [m], the thresholds of each exit. correct, cloud: int [m], increasing.
  """

  main: Float[np.ndarray, " m"]
  extension: Float[np.ndarray, " m"]
  correct: Int[np.ndarray, " m"]
  cloud: Int[np.ndarray, " m"]


def exact_curve(
  policy: Policy, records: Records, is_hard: Bool[np.ndarray, " c"], hard_threshold: float = 0.5
) -> ExactCurve:
  """Every distinct operating point of a policy whose exits share one threshold.

  Args:
    policy: with `offload` `early`, or `late` (both exits then use the same threshold).
    records: n images, NumPy arrays.
    is_hard: [c].
    hard_threshold: the `hard` threshold.

  Raises:
    UserError: a policy that compares no uncertainty.
  """
  edge, unsure = kept_on_edge(policy, records, is_hard, hard_threshold)
  order = np.argsort(-unsure, kind="stable")
  ordered = unsure[order]
  # Points between equal uncertainties do not exist: no threshold separates them.
  exists = np.concatenate([[True], ordered[1:] != ordered[:-1], [True]])
  threshold = np.append(ordered, np.nextafter(ordered[-1], np.float32(-np.inf)))
  # With k offloads the k-th most uncertain image (from 0) is the first that stays.
  offloaded = np.flatnonzero(exists[: len(ordered)])
  points = np.append(offloaded, len(ordered))
  correct_edge = edge.prediction == records.label
  correct_cloud = records.cloud.prediction == records.label
  truly_hard = is_hard[records.label]
  saved = edge.ran_extension if policy.offload == "early" else np.zeros_like(truly_hard)

  def after(stays: Mask, leaves: Mask) -> Int[np.ndarray, " m"]:
    """Sums of `stays` over images at the edge and of `leaves` over those offloaded."""
    change = np.cumsum(leaves[order].astype(np.int64) - stays[order])
    return (stays.sum() + np.concatenate([[0], change]))[points]

  none, every = np.zeros_like(truly_hard), np.ones_like(truly_hard)
  counts = Counts(
    correct=after(correct_edge, correct_cloud),
    hard_correct=after(correct_edge & truly_hard, correct_cloud & truly_hard),
    main=after(edge.exit == MAIN, none),
    extension=after(edge.exit == EXTENSION, none),
    cloud=after(none, every),
    ran_extension=after(edge.ran_extension, edge.ran_extension & ~saved),
  )
  # From everything offloaded (smallest threshold) to nothing.
  return ExactCurve(threshold[points][::-1], Counts(*(values[::-1] for values in counts)))


def pareto_front(
  policy: Policy, records: Records, is_hard: Bool[np.ndarray, " c"], hard_threshold: float = 0.5
) -> Front:
  """The exact Pareto front of accuracy against offloads, over all pairs of thresholds.

  Which exit an image takes does not depend on the thresholds, so each exit is a sequence of its
  own, and the best pair for every number of offloads is their (max, +) convolution.

  Args:
    policy: with `offload` `late`.
    records: n images, NumPy arrays; the work is the product of the two exits' shares.
    is_hard: [c].
    hard_threshold: the `hard` threshold.

  Raises:
    UserError: another offload rule.
  """
  if policy.offload != "late":
    raise UserError(f"offload is {policy.offload!r}; accepted: 'late'")
  edge, unsure = kept_on_edge(policy, records, is_hard, hard_threshold)
  gain = (records.cloud.prediction == records.label).astype(np.int32) - (
    edge.prediction == records.label
  )
  sides = [
    _sequence(unsure[edge.exit == exit], gain[edge.exit == exit]) for exit in (MAIN, EXTENSION)
  ]
  (main_t, main_k, main_gain), (extension_t, extension_k, extension_gain) = sides
  size = len(unsure) + 1
  best = np.full(size, np.iinfo(np.int32).min, np.int32)
  by_main = np.zeros(size, np.int32)
  by_extension = np.zeros(size, np.int32)
  for point, (k, g) in enumerate(zip(extension_k, extension_gain, strict=True)):
    total, places = main_gain + g, main_k + k
    better = total > best[places]
    best[places[better]] = total[better]
    by_main[places[better]] = np.flatnonzero(better)
    by_extension[places[better]] = point
  highest = np.maximum.accumulate(best)
  on_front = np.flatnonzero(best > np.concatenate([[np.iinfo(np.int32).min], highest[:-1]]))
  base = int(np.sum(edge.prediction == records.label))
  return Front(
    main_t[by_main[on_front]],
    extension_t[by_extension[on_front]],
    base + best[on_front],
    on_front,
  )


def kept_on_edge(
  policy: Policy, records: Records, is_hard: Bool[np.ndarray, " c"], hard_threshold: float
) -> tuple[Route, Float[np.ndarray, " n"]]:
  """Every image's route if it stays, and the uncertainty that could send it to the cloud.

  Raises:
    UserError: a policy that compares no uncertainty.
  """
  if policy.offload not in ("early", "late"):
    raise UserError(f"offload is {policy.offload!r}; accepted: 'early' or 'late', with thresholds")
  never = Thresholds(np.float32(np.inf), np.float32(np.inf), np.float32(hard_threshold))
  stays = route(policy, never, records, is_hard)
  assert not np.any(stays.exit == CLOUD)
  unsure = uncertainty(policy.criterion, records.main)
  if policy.offload == "late":
    at_extension = uncertainty(policy.criterion, records.extension)
    unsure = np.where(stays.exit == EXTENSION, at_extension, unsure)
  return stays, unsure


def _sequence(unsure: Float[np.ndarray, " n"], gain: Int[np.ndarray, " n"]):
  """Thresholds of one exit with the offloads and the gain in correct answers of each."""
  order = np.argsort(-unsure, kind="stable")
  ordered = np.append(unsure[order], np.float32(-np.inf))
  exists = np.append(np.append(True, ordered[1:-1] != ordered[:-2])[: len(unsure)], True)
  total = np.concatenate([[0], np.cumsum(gain[order])]).astype(np.int32)
  points = np.flatnonzero(exists)
  return ordered[points].astype(np.float32), points, total[points]
