"""Exact operating points: every one that exists, from a sort and cumulative sums.

A grid misses points between its thresholds; here there is one point per distinct uncertainty. Only
the order of uncertainties matters, so the work is that of sorting.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from meanet_jax.errors import UserError
from meanet_jax.routing.counts import Counts
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.normalised_threshold import normalised_by, refuse_without_threshold
from meanet_jax.routing.policies import Policy, Thresholds
from meanet_jax.routing.rules import (
  EXTENSION,
  MAIN,
  Records,
  Route,
  cloud_prediction,
  compared_uncertainty,
  edge_route,
  extension_scores,
)

Mask = Bool[np.ndarray, " n"]


class ExactCurve(NamedTuple):
  """Operating points of a one-threshold policy, from everything offloaded to nothing.

  main, extension: float32 [m], the thresholds of each exit, neither decreasing. m is at most n + 1.
  counts: int [m].
  """

  main: Float[np.ndarray, " m"]
  extension: Float[np.ndarray, " m"]
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
  policy: Policy, records: Records, hard_classes: HardClasses, fixed: Thresholds
) -> ExactCurve:
  """Every distinct operating point of a policy whose exits share one normalised threshold.

  It is what the sweep over `normalised_threshold.thresholds_at` comes to with ever more thresholds.

  Args:
    policy: with `offload` `early` or `late`.
    records: n images, NumPy arrays.
    hard_classes: the extension's.
    fixed: the `hard` and `run` thresholds.

  Raises:
    UserError: a policy that compares no uncertainty.
  """
  is_hard = hard_classes.mask
  edge, unsure = kept_on_edge(policy, records, is_hard, fixed)
  at_extension = (edge.exit == EXTENSION) & (policy.offload == "late")
  # In float64, where no two different float32 numbers become equal.
  wide = unsure.astype(np.float64)
  by_exit = (normalised_by(policy, hard_classes, exit, wide) for exit in (EXTENSION, MAIN))
  ranked = np.where(at_extension, *by_exit)
  order = np.argsort(-ranked, kind="stable")
  ordered = ranked[order]
  # Points between equal uncertainties do not exist: no threshold separates them.
  exists = np.concatenate([[True], ordered[1:] != ordered[:-1]])
  # With k offloads the k-th most uncertain image (from 0) is the first that stays.
  points = np.append(np.flatnonzero(exists), len(ordered))
  correct_edge = edge.prediction == records.label
  saved = edge.ran_extension if policy.offload == "early" else np.zeros(len(order), bool)
  ran_if_sent = edge.ran_extension & ~saved
  correct_cloud = cloud_prediction(policy, records, ran_if_sent) == records.label
  truly_hard = is_hard[records.label]

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
    ran_extension=after(edge.ran_extension, ran_if_sent),
    extension_and_cloud=after(none, ran_if_sent),
  )
  # From everything offloaded (smallest threshold) to nothing.
  return ExactCurve(
    _largest_kept(unsure, ~at_extension, order)[points][::-1],
    _largest_kept(unsure, at_extension, order)[points][::-1],
    Counts(*(values[::-1] for values in counts)),
  )


def pareto_front(
  policy: Policy, records: Records, is_hard: Bool[np.ndarray, " c"], fixed: Thresholds
) -> Front:
  """The exact Pareto front of accuracy against offloads, over all pairs of thresholds.

  Which exit an image takes does not depend on the thresholds, so each exit is a sequence of its
  own, and the best pair for every number of offloads is their (max, +) convolution.

  Args:
    policy: with `offload` `late`.
    records: n images, NumPy arrays; the work is the product of the two exits' shares.
    is_hard: [c].
    fixed: the `hard` and `run` thresholds.

  Raises:
    UserError: another offload rule.
  """
  if policy.offload != "late":
    raise UserError(f"offload is {policy.offload!r}; accepted: 'late'")
  edge, unsure = kept_on_edge(policy, records, is_hard, fixed)
  answered = cloud_prediction(policy, records, edge.ran_extension)
  gain = (answered == records.label).astype(np.int32) - (edge.prediction == records.label)
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
  policy: Policy, records: Records, is_hard: Bool[np.ndarray, " c"], fixed: Thresholds
) -> tuple[Route, Float[np.ndarray, " n"]]:
  """Every image's route if it stays, and the uncertainty that could send it to the cloud.

  Raises:
    UserError: a policy that compares no uncertainty.
  """
  refuse_without_threshold(policy)
  stays = edge_route(policy, fixed, records, is_hard)
  extension = extension_scores(policy, records)
  unsure = compared_uncertainty(policy, records.main, extension, stays.exit == EXTENSION)
  assert unsure is not None
  return stays, unsure


def _largest_kept(
  unsure: Float[np.ndarray, " n"], exit: Mask, order: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " n_plus_1"]:
  """An exit's threshold by the number of images sent: the largest uncertainty that stays there.

  Below every uncertainty of the exit where none of its images stays.
  """
  least = np.min(unsure[exit], initial=np.inf)
  below = np.nextafter(np.float32(least), np.float32(-np.inf)) if exit.any() else np.float32(0)
  kept = np.where(exit, unsure, below)[order]
  return np.append(np.maximum.accumulate(kept[::-1])[::-1], below).astype(np.float32)


def _sequence(unsure: Float[np.ndarray, " n"], gain: Int[np.ndarray, " n"]):
  """Thresholds of one exit with the offloads and the gain in correct answers of each."""
  order = np.argsort(-unsure, kind="stable")
  ordered = np.append(unsure[order], np.float32(-np.inf))
  exists = np.append(np.append(True, ordered[1:-1] != ordered[:-2])[: len(unsure)], True)
  total = np.concatenate([[0], np.cumsum(gain[order])]).astype(np.int32)
  points = np.flatnonzero(exists)
  return ordered[points].astype(np.float32), points, total[points]
