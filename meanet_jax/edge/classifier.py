"""The edge on a device: early exit that calls no signature in vain. NumPy and LiteRT, no JAX."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from meanet_jax.annotations import UInt8
from meanet_jax.edge.combination import cloud_prediction, edge_log_probabilities
from meanet_jax.edge.decisions import Answer, BatchThresholds, EdgeDecision
from meanet_jax.edge.interpreter import Run, open_signatures
from meanet_jax.edge.manifest import read_manifest
from meanet_jax.errors import UserError
from meanet_jax.paths import expanded_path
from meanet_jax.routing.learned import with_gain
from meanet_jax.routing.operating_point import OperatingPoint
from meanet_jax.routing.policies import Thresholds
from meanet_jax.routing.rules import (
  CLOUD,
  EXTENSION,
  MAIN,
  comparison,
  offloads_early,
  offloads_late,
  predicted_hard,
  takes_extension,
)
from meanet_jax.routing.scores import Scores, scores

# A raw image [h, w, c] to its class, in original class numbers; with `cloud_rule` `fused` to the
# cloud's logits [C].
Cloud = Callable[[np.ndarray], Any]


class EdgeClassifier:
  """An exported edge at one operating point.

  The `extension` signature is called only for an image that the policy of edge.json judges hard.
  The rules are the functions of `routing/rules.py`, on NumPy scalars.
  """

  def __init__(
    self,
    directory: str | Path,
    *,
    operating_point: OperatingPoint | None = None,
    cloud: Cloud | None = None,
    skip: bool = True,
    num_threads: int = 1,
  ):
    """Reads and checks the files.

    Args:
      directory: what `meanet export` wrote.
      operating_point: instead of that of edge.json; temperatures and hard classes are the export's.
      cloud: asked about complex images. With it, an image that goes to the cloud before its
        extension has run never runs it; without it the edge answers every image.
      skip: False calls the extension for every image, for measuring what skipping saves.
      num_threads: of the interpreter.

    Raises:
      UserError: files that are missing, damaged, or do not belong together; an operating point of
        other temperatures or hard classes.
    """
    directory = expanded_path(os.fspath(directory), "directory")
    self.manifest = read_manifest(directory)
    self.operating_point = _given(operating_point, self.manifest.operating_point)
    self._policy = self.operating_point.policy
    self._cloud, self._skip = cloud, skip
    self._batch_size = self.manifest.batch_size
    self._image_dtype = np.dtype(self.manifest.image_dtype)
    self._is_hard = self.operating_point.hard_classes.mask
    self._main, self._extension = open_signatures(directory, self.manifest, num_threads)

  def classify(self, images: np.ndarray) -> list[Answer]:
    """An answer for every image, in their order: uint8 [n, h, w, c], n is any number.

    Raises:
      UserError: images of another shape or type.
    """
    self._check_images(images)
    answers: list[Answer] = []
    for start in range(0, len(images), self._batch_size):
      begun = time.perf_counter()
      batch = images[start : start + self._batch_size]
      decisions = self._decide(batch, None, self._cloud is not None)
      answers += [self._settled(one, begun) for one in decisions]
    return answers

  def decide(
    self, images: np.ndarray, *, online: BatchThresholds | None = None, skip_extension: bool = True
  ) -> list[EdgeDecision]:
    """The edge's part alone, for a caller who asks the cloud himself and need not wait for it.

    What the cloud's answer makes of a decision is `combination.cloud_prediction`.

    Args:
      images: uint8 [n, h, w, c], at most a batch of edge.json.
      online: asked for thresholds, image by image, instead of the classifier's own.
      skip_extension: whether the extension is skipped for an image that goes to the cloud before;
        `answer_alone` runs it, should the cloud not answer.

    Raises:
      UserError: images of another shape or type, or more than a batch.
    """
    self._check_images(images)
    if len(images) > self._batch_size:
      raise UserError(f"{len(images)} images at once; accepted: at most {self._batch_size}")
    return self._decide(images, online, skip_extension)

  def answer_alone(self, decision: EdgeDecision) -> Answer:
    """The edge's own answer, for which the extension runs now if it was skipped."""
    if not decision.skipped:
      return decision.answer
    begun = time.perf_counter()
    outputs = self._extension(
      image=self._padded(decision.image[None]), features=self._whole_batch(decision.features[None])
    )
    before, main_logits = decision.answer, decision.logits[0]
    (extension,) = self._extension_scores(main_logits[None], outputs, range(1))
    at_extension = takes_extension(self._policy, before.main, extension, np.True_)
    exit, of_exit = _answering(at_extension, before.main, extension)
    return before._replace(
      prediction=int(of_exit.prediction),
      exit=exit,
      scores=of_exit,
      extension=extension,
      seconds=before.seconds + time.perf_counter() - begun,
    )

  def outputs(self, images: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """Everything that both signatures give, on every image of uint8 [n, h, w, c].

    Returns:
      Arrays [n, ...], by signature and name.

    Raises:
      UserError: images of another shape or type, or none.
    """
    self._check_images(images)
    if not len(images):
      raise UserError("no images were given; accepted: at least 1")
    parts: dict[str, list[dict[str, np.ndarray]]] = {"main": [], "extension": []}
    for batch, real in self.batches(images):
      main = self._main(image=batch)
      extension = self._extension(image=batch, features=main["features"])
      for name, outputs in (("main", main), ("extension", extension)):
        parts[name].append({key: value[:real] for key, value in outputs.items()})
    return {
      name: {key: np.concatenate([part[key] for part in of]) for key in of[0]}
      for name, of in parts.items()
    }

  @property
  def signatures(self) -> tuple[Run, Run]:
    """`main` and `extension` themselves: arguments by name in, outputs by name out."""
    return self._main, self._extension

  def batches(self, images: UInt8[np.ndarray, "n h w c"]) -> Iterator[tuple[np.ndarray, int]]:
    """Images as the signatures take them: padded to whole batches, and how many are real."""
    for start in range(0, len(images), self._batch_size):
      batch = images[start : start + self._batch_size]
      yield self._padded(batch), len(batch)

  def _decide(
    self, images: UInt8[np.ndarray, "n h w c"], online: BatchThresholds | None, skip_extension: bool
  ) -> list[EdgeDecision]:
    begun = time.perf_counter()
    batch = self._padded(images)
    outputs = self._main(image=batch)
    rows = range(len(images))
    mains, masses = _scores(outputs, rows), outputs["hard_probability"]
    if self._policy.learns:
      mains = [self._with_gain(mains[row], mains[row], masses[row], False) for row in rows]
    features, logits = outputs["features"], outputs["logits"]
    # What the rule `late` says of an image is not known before its extension has run.
    known_early = self._policy.offload != "late"
    limits, ran, skipped = [], [], []
    for row in rows:
      limits.append(self._limits(online))
      hard = predicted_hard(self._policy, limits[row], mains[row], masses[row], self._is_hard)
      early = offloads_early(self._policy, limits[row], mains[row])
      skipped.append(hard & early if skip_extension else np.False_)
      ran.append(hard & ~skipped[row])
      if online is not None and known_early:
        online.record_decision(row, bool(early), bool(ran[row]))
    extensions = mains  # the rules look at no value of an extension that did not run
    extension_logits: Any = None
    if True in ran or not self._skip:
      outputs = self._extension(image=batch, features=features)
      extensions = self._extension_scores(logits, outputs, rows)
      if self._policy.learns:
        extensions = [
          self._with_gain(extensions[row], mains[row], masses[row], True) for row in rows
        ]
      extension_logits = outputs["logits"]
    decisions = []
    for row in rows:
      main, extension = mains[row], extensions[row]
      at_extension = takes_extension(self._policy, main, extension, ran[row])
      if not known_early:
        limits[row] = self._limits(online)
      complex = offloads_late(self._policy, limits[row], main, extension, at_extension)
      compared = comparison(self._policy, limits[row], main, extension, at_extension)
      if online is not None and not known_early:
        online.record_decision(row, bool(complex), bool(ran[row]))
      seen = extension if ran[row] else None
      exit, of_exit = _answering(at_extension, main, seen)
      answer = Answer(
        prediction=int(of_exit.prediction),
        exit=exit,
        complex=bool(complex),
        compared=compared,
        scores=of_exit,
        main=main,
        extension=seen,
        hard_probability=masses[row],
        seconds=time.perf_counter() - begun,
      )
      both = logits[row], extension_logits[row] if ran[row] else None
      decisions.append(EdgeDecision(answer, bool(skipped[row]), images[row], features[row], both))
    return decisions

  def _extension_scores(
    self, main_logits: np.ndarray, outputs: dict[str, np.ndarray], rows: range
  ) -> list[Scores]:
    """Those behind an answer at the extension, image by image."""
    if self._policy.edge_rule != "fused":
      return _scores(outputs, rows)
    count = len(main_logits)
    own = outputs["logits"][:count]
    fused = scores(edge_log_probabilities(self.operating_point, main_logits, own))
    return _scores(fused._asdict(), rows)

  def _with_gain(self, answer: Scores, main: Scores, mass: np.float32, ran: bool) -> Scores:
    """One image's scores with what the criterion `learned` compares."""
    assert self.operating_point.gain is not None
    return with_gain(self.operating_point.gain, answer, main, mass, ran)

  def _limits(self, online: BatchThresholds | None) -> Thresholds:
    moved = None if online is None else online.thresholds()
    return self.operating_point.thresholds if moved is None else moved

  def _settled(self, decision: EdgeDecision, begun: float) -> Answer:
    """The final answer where the cloud is a function, or is not there at all."""
    answer = decision.answer
    if answer.complex and self._cloud is not None:
      from_cloud = self._cloud(decision.image)
      prediction = cloud_prediction(self.operating_point, decision, from_cloud)
      answer = answer._replace(prediction=prediction, exit=CLOUD)
      answer = answer._replace(seconds=time.perf_counter() - begun)
    return answer

  def _padded(self, images: np.ndarray) -> np.ndarray:
    return self._whole_batch(images).astype(self._image_dtype, copy=False)

  def _whole_batch(self, rows: np.ndarray) -> np.ndarray:
    missing = self._batch_size - len(rows)
    if not missing:
      return rows
    return np.concatenate([rows, np.zeros((missing, *rows.shape[1:]), rows.dtype)])

  def _check_images(self, images: np.ndarray) -> None:
    shape = self.manifest.image_shape
    if images.ndim != 4 or images.shape[1:] != shape or images.dtype != np.uint8:
      accepted = ", ".join(map(str, shape))
      raise UserError(f"images are {images.dtype} {images.shape}; accepted: uint8 (n, {accepted})")


def _given(asked: OperatingPoint | None, exported: OperatingPoint) -> OperatingPoint:
  """The operating point asked for, if the export's signatures are made for it."""
  if asked is None:
    return exported
  for name in ("temperatures", "hard_classes"):
    found, accepted = getattr(asked, name), getattr(exported, name)
    if found != accepted:
      raise UserError(f"the operating point has {name} {found}; expected the export's, {accepted}")
  return asked


def _answering(at_extension: Any, main: Scores, extension: Scores | None) -> tuple[int, Scores]:
  """The exit that the edge answers at, and its scores; main's where the extension did not run."""
  return (EXTENSION, extension) if at_extension and extension else (MAIN, main)


def _scores(outputs: dict[str, np.ndarray], rows: range) -> list[Scores]:
  """A signature's scores, image by image, as NumPy scalars: on one number faster than arrays."""
  prediction, max_prob = outputs["prediction"], outputs["max_prob"]
  entropy, margin = outputs["entropy"], outputs["margin"]
  return [Scores(prediction[row], max_prob[row], entropy[row], margin[row]) for row in rows]
