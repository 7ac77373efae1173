"""Which of an operating point's decisions rounding may turn around."""

import math
from typing import Any

import numpy as np
from jaxtyping import Bool

from meanet_jax.config.schema import Criterion
from meanet_jax.evaluation.records import cooled
from meanet_jax.models.meanet import Outputs
from meanet_jax.routing.fusion import fuse_cloud, fuse_extension, log_softmax
from meanet_jax.routing.learned import FEATURES, LEAST_REST
from meanet_jax.routing.operating_point import OperatingPoint
from meanet_jax.routing.rules import EXIT_NAMES, Records, extension_scores
from meanet_jax.routing.scores import Scores, uncertainty

# Largest accepted difference of float32 logits, as a share of their spread (maximum - minimum).
LOGIT_TOLERANCE = 1e-4


def near_a_threshold(
  point: OperatingPoint, records: Records, outputs: Outputs
) -> Bool[np.ndarray, " n"]:
  """Images with a comparison that logit differences of `LOGIT_TOLERANCE` could turn around.

  When every logit moves by at most d, two logits' difference moves by at most 2 d, a probability or
  a sum of probabilities by d / 2, a margin by d, and an entropy over c classes by 2 d ln c (its
  derivative is -p (ln p + H), and the mean of |ln p + H| is at most 2 H). A fused distribution is a
  softmax over easy classes and main's mass on hard ones, whose logits move by at most main's d, and
  within that mass a softmax of weighted logits, which move by at most the weighted d: each of these
  quantities moves by no more than with logits that move by 1.25 of the first and the second. Of the
  comparisons of a policy, those that it does not make are left out.
  """
  policy, thresholds, temperatures = point.policy, point.thresholds, point.temperatures
  moved = {
    name: LOGIT_TOLERANCE * float(np.ptp(logits)) / temperature + 1e-6  # and scores' own rounding
    for name, logits, temperature in zip(EXIT_NAMES, outputs, temperatures, strict=True)
  }

  def tied(logits: np.ndarray, name: str) -> np.ndarray:
    top = np.sort(logits, axis=-1)[:, -2:]
    gap = (top[:, -1] - top[:, 0]) / getattr(temperatures, name, 1.0)
    return (gap <= 2 * moved[name]) & (logits.shape[-1] > 1)

  def unsure(scores: Scores, logits: np.ndarray, name: str, limit: Any) -> np.ndarray:
    return near_limit(policy.criterion, scores, logits, name, limit)

  def near_limit(
    criterion: Criterion, scores: Scores, logits: np.ndarray, name: str, limit: Any
  ) -> np.ndarray:
    distance, entropy = (
      np.abs(uncertainty(criterion, scores) - limit),
      2 * math.log(max(logits.shape[-1], 2)),
    )
    if criterion != "learned":
      return distance <= (entropy if criterion == "entropy" else 1.0) * moved[name]
    assert point.gain is not None
    rest = np.maximum(1 - scores.max_prob, LEAST_REST)
    steps = {
      "log_max_prob": 2 * moved[name],
      "log_rest": 2 * moved[name] + 1e-6 / rest,
      "margin": moved[name],
      "entropy": entropy * moved[name],
      "hard_probability": moved["main"],
      "ran": 0.0,
      "agrees": 0.0,
    }
    most = np.abs(point.gain.features).max(axis=0)
    logit = sum(weight * steps[feature] for weight, feature in zip(most, FEATURES, strict=True))
    return distance <= logit + 1e-6

  side, side_logits = "extension", outputs.extension
  if policy.edge_rule == "fused":
    assert point.fusion is not None
    weight, side = point.fusion.edge, "fused"
    both = (1 - weight) * moved["main"] + weight * moved["extension"]
    moved["fused"] = 1.25 * moved["main"] + both
    logits = map(cooled, outputs[:2], temperatures[:2])
    side_logits = fuse_extension(*logits, point.hard_classes, weight)
  near = tied(outputs.main, "main") | tied(side_logits, side)
  if policy.cloud_rule == "fused":
    near |= _near_a_fused_tie(point, outputs, moved)
  if policy.hard_rule in ("argmax_uncertain", "uncertain"):
    near |= near_limit(policy.run_criterion, records.main, outputs.main, "main", thresholds.run)
  if policy.hard_rule == "probability":
    near |= np.abs(records.hard_probability - thresholds.hard) <= moved["main"]
  if policy.edge_rule == "most_confident":
    gap = np.abs(records.extension.max_prob - records.main.max_prob)
    near |= gap <= moved["main"] + moved["extension"]
  if policy.offload in ("early", "late"):
    near |= unsure(records.main, outputs.main, "main", thresholds.main)
  if policy.offload == "late":
    near |= unsure(extension_scores(policy, records), side_logits, side, thresholds.extension)
  return near


def _near_a_fused_tie(
  point: OperatingPoint, outputs: Outputs, moved: dict[str, float]
) -> Bool[np.ndarray, " n"]:
  """Images whose answer of edge and cloud together has a runner-up too near.

  The difference of two log-probabilities of the fused distribution of the edge moves by at most
  twice what main's logits move by plus what the mixed ones do, and weighs 1 - w; the cloud's logits
  are JAX's on both sides.
  """
  assert point.fusion is not None
  main, extension, cloud = map(cooled, outputs, point.temperatures)
  weight, near = point.fusion.cloud, np.zeros(len(main), bool)
  fused = fuse_extension(main, extension, point.hard_classes, point.fusion.edge)
  slack = 2 * (1 - weight) * (moved["main"] + max(moved["main"], moved["extension"])) + 1e-5
  for edge in (log_softmax(main), fused):
    top = np.sort(fuse_cloud(edge, cloud, weight), axis=-1)[:, -2:]
    near |= top[:, -1] - top[:, 0] <= slack
  return near
