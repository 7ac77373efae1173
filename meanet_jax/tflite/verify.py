"""An exported directory against JAX: the same decisions, from the same logits, and its latency."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from jaxtyping import Bool, Float, Int

from meanet_jax import log
from meanet_jax.data.splits import Split
from meanet_jax.edge import combination
from meanet_jax.edge import manifest as manifests
from meanet_jax.edge.classifier import EdgeClassifier
from meanet_jax.edge.decisions import Answer
from meanet_jax.edge.test_vectors import TEST_VECTORS, check_test_vectors, describe_ends
from meanet_jax.errors import UserError, VerificationError
from meanet_jax.evaluation.records import records_at
from meanet_jax.log import logger
from meanet_jax.models.meanet import Exits, Outputs
from meanet_jax.routing.rules import CLOUD, EXIT_NAMES, Route, cloud_prediction, route
from meanet_jax.tflite.nearness import LOGIT_TOLERANCE, near_a_threshold
from meanet_jax.tflite.policy import run_policy
from meanet_jax.tflite.source import Source
from meanet_jax.training.forward import ForwardPass
from meanet_jax.training.parallel import replicate

_WARM_UP = 20  # calls before latency counts


class LogitDifference(NamedTuple):
  """One exit's logits on a split. largest: of |LiteRT - JAX|. spread: of JAX's, max - min."""

  largest: float
  spread: float


class Verification(NamedTuple):
  """What was found on n images.

  exits, predictions: int32 [2, n], by JAX and by LiteRT; an image that goes to the cloud has the
  cloud's answer by JAX in both, fused with the edge's of each where the policy says so. labels:
  int32 [n]. near: bool [n], see `near_a_threshold`. ran_extension: bool [n],
  in LiteRT. by_policy: what `policy.tflite` makes of LiteRT's logits and of the cloud's by JAX.
  logits: by exit. early, always: float [n], seconds per image with skipping and without.
  """

  exits: Int[np.ndarray, "2 n"]
  predictions: Int[np.ndarray, "2 n"]
  labels: Int[np.ndarray, " n"]
  near: Bool[np.ndarray, " n"]
  ran_extension: Bool[np.ndarray, " n"]
  by_policy: Route
  logits: dict[str, LogitDifference]
  early: Float[np.ndarray, " n"]
  always: Float[np.ndarray, " n"]

  @property
  def differs(self) -> Bool[np.ndarray, " n"]:
    """Whether the two disagree on the exit or on the answer."""
    return (self.exits[0] != self.exits[1]) | (self.predictions[0] != self.predictions[1])

  @property
  def policy_differs(self) -> Bool[np.ndarray, " n"]:
    """Whether LiteRT by `policy.tflite` ends elsewhere than LiteRT by the rules in NumPy."""
    exits, predictions, ran_extension = self.by_policy
    found = (exits != self.exits[1]) | (predictions != self.predictions[1])
    return found | (ran_extension != self.ran_extension)


def verify(source: Source, directory: str | Path) -> None:
  """Compares over the test split, with one thread, and prints.

  Raises:
    UserError: networks without a data set; an edge_test.json of another export.
    VerificationError: a manifest that records other preprocessing than the evaluation's; an
      edge_test.json whose steps come out differently; a float32 export whose logits differ by more
      than `LOGIT_TOLERANCE` of their spread, or that decides differently away from a threshold, by
      the rules in Python or by `policy.tflite`. A quantised export computes with other numbers on
      purpose, and `near` is of JAX's: its figures are printed and not judged.
  """
  if source.dataset is None:
    raise UserError("untrained networks have no test split; accepted: a run to verify")
  manifest = manifests.read_manifest(directory)
  if manifest.preprocessing != source.dataset.preprocessing:
    raise VerificationError(
      f"{manifests.MANIFEST} records {manifest.preprocessing}; "
      f"accepted: {source.dataset.preprocessing}, as {source.dataset.name} is evaluated"
    )
  logger.info(f"{TEST_VECTORS}: {describe_ends(check_test_vectors(directory))}")
  found = compare(source, directory, source.dataset.test)
  _show_decisions(found)
  _show_logits(found)
  _show_latency(found)
  different, away = int(found.differs.sum()), int((found.differs & ~found.near).sum())
  logger.info(
    f"{different} of {len(found.labels)} decisions differ, {away} of them away from a threshold"
  )
  by_policy = int(found.policy_differs.sum())
  logger.info(f"{manifests.POLICY}: {by_policy} decisions differ from those by the rules in Python")
  if manifest.quantize == "none":
    judge(found)


def judge(found: Verification) -> None:
  """Refuses float32 logits or decisions that are not JAX's; see `verify`.

  Raises:
    VerificationError: naming what differs.
  """
  for name, logits in found.logits.items():
    if not logits.largest <= LOGIT_TOLERANCE * logits.spread:
      raise VerificationError(
        f"logits of exit {name} differ by {logits.largest:.3g}; "
        f"accepted: {LOGIT_TOLERANCE:g} of their spread {logits.spread:.3g}"
      )
  for what, differs in (
    ("decisions", found.differs),
    (f"decisions by {manifests.POLICY}", found.policy_differs),
  ):
    away = np.flatnonzero(differs & ~found.near)
    if len(away):
      raise VerificationError(
        f"{len(away)} {what} differ away from a threshold, first that of test image {away[0]}; "
        "accepted: none"
      )


def compare(source: Source, directory: str | Path, split: Split) -> Verification:
  """Runs both over a split."""
  dataset = source.config.dataset
  forward = ForwardPass(source.model, Exits.ALL, dataset, source.config.evaluation.batch_size)
  outputs = forward(replicate(source.variables), split)
  point = source.operating_point
  known = point.hard_classes
  records = records_at(point, outputs, split.labels)
  expected = route(point.policy, point.thresholds, records, known.mask)
  from_cloud = cloud_prediction(point.policy, records, expected.ran_extension)

  def cloud(_: np.ndarray) -> Any:
    # Which image it is, is known below.
    return np.zeros(known.num_classes) if point.policy.cloud_rule == "fused" else -1

  images = split.images_at(range(len(split)))
  early = EdgeClassifier(directory, cloud=cloud)
  always = EdgeClassifier(directory, cloud=cloud, skip=False)
  answers, seconds, all_seconds = _timed(early, always, images)
  settled = from_cloud
  if combination.fuses_cloud(point):
    settled = _fused_with_cloud(early, images, outputs.cloud)
  exits = np.array([answer.exit for answer in answers], np.int32)
  edge = np.array([answer.prediction for answer in answers], np.int32)
  logits = _litert_logits(early, directory, images)
  by_policy = run_policy(
    manifests.read_model(directory, manifests.POLICY, early.manifest),
    Outputs(logits["main"], logits["extension"], outputs.cloud),
  )
  differences = {
    name: LogitDifference(float(np.max(np.abs(logits[name] - theirs))), float(np.ptp(theirs)))
    for name, theirs in zip(EXIT_NAMES, outputs, strict=True)
    if name in logits
  }
  return Verification(
    exits=np.stack([expected.exit, exits]),
    predictions=np.stack([expected.prediction, np.where(exits == CLOUD, settled, edge)]),
    labels=records.label,
    near=near_a_threshold(point, records, outputs),
    ran_extension=np.array([answer.extension is not None for answer in answers]),
    by_policy=by_policy,
    logits=differences,
    early=seconds,
    always=all_seconds,
  )


def _fused_with_cloud(
  edge: EdgeClassifier, images: np.ndarray, cloud: Float[np.ndarray, "n c"]
) -> Int[np.ndarray, " n"]:
  """The device's answers for images that are sent, given the cloud's logits by JAX."""
  size = edge.manifest.batch_size
  decisions = [
    one
    for start in range(0, len(images), size)
    for one in edge.decide(images[start : start + size])
  ]
  point = edge.operating_point
  pairs = zip(decisions, cloud, strict=True)
  answers = (combination.cloud_prediction(point, *pair) for pair in pairs)
  return np.fromiter(answers, np.int32, len(images))


def _timed(
  early: EdgeClassifier, always: EdgeClassifier, images: np.ndarray
) -> tuple[list[Answer], np.ndarray, np.ndarray]:
  """Answers, and seconds per image of both, taken in turn so that both meet the same machine."""
  size = early.manifest.batch_size
  for classifier in (early, always):
    classifier.classify(np.resize(images, (_WARM_UP * size, *images.shape[1:])))
  answers: list[Answer] = []
  seconds: tuple[list[float], list[float]] = ([], [])
  for start in range(0, len(images), size):
    batch = images[start : start + size]
    both = early.classify(batch), always.classify(batch)
    answers += both[0]
    for into, found in zip(seconds, both, strict=True):
      into += [answer.seconds / len(batch) for answer in found]
  return answers, np.array(seconds[0]), np.array(seconds[1])


def _litert_logits(
  edge: EdgeClassifier, directory: str | Path, images: np.ndarray
) -> dict[str, np.ndarray]:
  found = {name: outputs["logits"] for name, outputs in edge.outputs(images).items()}
  if manifests.CLOUD in edge.manifest.files:
    data = manifests.read_model(directory, manifests.CLOUD, edge.manifest)
    cloud = Interpreter(model_content=data, num_threads=1).get_signature_runner("cloud")
    parts = [cloud(image=batch)["logits"][:real] for batch, real in edge.batches(images)]
    found["cloud"] = np.concatenate(parts)
  return found


def _show_decisions(found: Verification) -> None:
  accuracy = np.mean(found.predictions == found.labels, axis=1)
  rows = [["accuracy [%]", *(f"{100 * value:.2f}" for value in accuracy)]]
  for number, name in enumerate(EXIT_NAMES):
    shares = np.mean(found.exits == number, axis=1)
    rows.append([f"end at {name} [%]", *(f"{100 * share:.2f}" for share in shares)])
  rows.append(["agreement [%]", "", f"{100 * np.mean(~found.differs):.2f}"])
  log.table(f"decisions on {len(found.labels)} test images", ("", "JAX", "LiteRT"), rows)


def _show_logits(found: Verification) -> None:
  rows = []
  for name, logits in found.logits.items():
    share = logits.largest / logits.spread if logits.spread else math.nan
    rows.append((name, f"{logits.largest:.2e}", f"{logits.spread:.2f}", f"{share:.1e}"))
  log.table("logits", ("exit", "largest difference", "spread", "share of spread"), rows)


def _show_latency(found: Verification) -> None:
  rows = []
  for name, seconds in (("early exit", found.early), ("both blocks always", found.always)):
    values = (*np.percentile(seconds, [50, 95]), np.mean(seconds))
    rows.append((name, *(f"{1e3 * value:.4f}" for value in values)))
  title = "latency per image, LiteRT, 1 thread [ms]"
  log.table(title, ("", "p50", "p95", "mean"), rows)
