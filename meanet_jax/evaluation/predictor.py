"""Prediction at an operating point: each block computes only the images that need it."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from meanet_jax.config.schema import Config, DatasetConfig
from meanet_jax.data.augment import normalise
from meanet_jax.data.splits import padded_batches
from meanet_jax.errors import UserError
from meanet_jax.evaluation.records import cooled
from meanet_jax.models.meanet import MEANet
from meanet_jax.models.variables import Variables, by_collection
from meanet_jax.routing.fusion import fuse_cloud, fuse_extension, log_softmax
from meanet_jax.routing.operating_point import OperatingPoint
from meanet_jax.routing.policies import (
  CLOUD,
  EXTENSION,
  edge_answer,
  offloads_early,
  predicted_hard,
)
from meanet_jax.routing.scores import Scores, hard_probability, refuse_nan, scores

PyTree = Any
Images = UInt8[np.ndarray, "n h w c"]

# Batches of the main block after which the extension runs on the images that need it. So nearly all
# of its batches are full, and the features that wait for it stay few.
_BATCHES_PER_ROUND = 8


class Networks(NamedTuple):
  """A MEANet with its weights and its normalisation.

  model: without a mapped axis. variables: of main, adaptive and extension block at least; without
  the cloud's, the edge answers every image. dataset: image shape, mean and standard deviation.
  """

  model: MEANet
  variables: Variables
  dataset: DatasetConfig


class FinishedRun(Protocol):
  """A run that knows its configuration and loads its networks."""

  @property
  def config(self) -> Config:
    """The run's configuration."""
    ...

  def load(self) -> tuple[MEANet, Variables]:
    """The model, without a mapped axis, and the variables of its blocks."""
    ...


class Prediction(NamedTuple):
  """What n images are classified as, in the order of the images.

  classes: int32 [n], original class numbers. exit: int32 [n], which exit answered: `MAIN`,
  `EXTENSION` or `CLOUD` of `routing/policies.py`. scores: those of that exit, arrays [n].
  ran_extension: bool [n], whether adaptive and extension block ran.
  """

  classes: Int[np.ndarray, " n"]
  exit: Int[np.ndarray, " n"]
  scores: Scores
  ran_extension: Bool[np.ndarray, " n"]


class Predictor:
  """A MEANet at one operating point, on one device.

  The main block runs on every batch, adaptive and extension block on the images that need them, and
  the cloud model on those that are sent. Each runs in batches of few static shapes: full ones, and
  a last one padded to one of `bucket_sizes`; every shape compiles at its first use. Decisions are
  those of `routing.policies.route`; logits differ from those of another compiled program by
  rounding alone.
  """

  def __init__(
    self, source: Networks | FinishedRun, operating_point: OperatingPoint, batch_size: int = 128
  ):
    """Puts the weights on the device; compiles nothing yet.

    Args:
      source: a finished run, or networks.
      operating_point: policy, thresholds, temperatures and hard classes.
      batch_size: images per run of a block.

    Raises:
      UserError: classes that are not the networks', or an empty batch.
    """
    if not isinstance(source, Networks):
      source = Networks(*source.load(), source.config.dataset)
    model, variables, dataset = source
    self._point, self._batch_size = operating_point, batch_size
    self._image_shape = dataset.image_shape
    _check(model, operating_point, batch_size)

    def normalised(images: Array) -> Array:
      return normalise(images, dataset.mean, dataset.std)

    def main(variables: PyTree, images: Array) -> Any:
      return model.apply(variables, normalised(images), method="main_exit")

    def extension(variables: PyTree, images: Array, features: Array) -> Any:
      return model.apply(variables, normalised(images), features, method="extend")

    def cloud(variables: PyTree, images: Array) -> Any:
      return model.apply(variables, normalised(images), method="classify_on_cloud")

    # Each program is handed its own blocks only: passing arrays costs time at every call.
    self._main = _Program(main, variables, ("main",))
    self._extension = _Program(extension, variables, ("adaptive", "extension"))
    self._cloud = _Program(cloud, variables, ("cloud",)) if "cloud" in variables else None

  def predict(self, images: Images) -> Prediction:
    """Classifies any number of images, in input order.

    Raises:
      UserError: images of another shape, or NaN or infinite logits.
    """
    if images.shape[1:] != self._image_shape:
      raise UserError(f"images are {images.shape[1:]}; accepted: {self._image_shape}")
    edge = self._on_edge(images)
    return edge.answers if self._cloud is None else self._with_cloud(self._cloud, images, edge)

  def _on_edge(self, images: Images) -> "_OnEdge":
    """The edge's answers, and which images the policy sends to the cloud."""
    count, policy = len(images), self._point.policy
    replaced = policy.offload == "always" and policy.cloud_rule == "replace"
    if not count or (self._cloud and replaced):
      nothing = np.zeros((count, self._point.hard_classes.num_classes), np.float32)
      return _OnEdge(_nothing(count), np.ones(count, bool), nothing)
    size = self._batch_size * _BATCHES_PER_ROUND
    parts = []
    pending: Any = None
    for start in range(0, count, size):
      begun = self._begin(images[start : start + size])
      # Finished one round late, so that the device has work while the host decides.
      if pending is not None:
        parts.append(self._finish(*pending))
      pending = begun
    parts.append(self._finish(*pending))
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)

  def _begin(self, images: Images) -> tuple[int, list[Array], list[Any]]:
    """Starts the main block on every batch; waits for none."""
    batches = [jax.device_put(batch) for batch, _ in padded_batches(images, self._batch_size)]
    return len(images), batches, [self._main(batch) for batch in batches]

  def _finish(self, count: int, batches: list[Array], outputs: list[Any]) -> "_OnEdge":
    """Decides about the images of a round, and runs the extension where it has to."""
    policy, thresholds, temperatures, hard_classes = (
      self._point.policy,
      self._point.thresholds,
      self._point.temperatures,
      self._point.hard_classes,
    )
    logits = np.concatenate([np.asarray(logits) for logits, _ in outputs])[:count]
    refuse_nan("main", logits)
    logits = cooled(logits, temperatures.main)
    main, mask = scores(logits), hard_classes.mask
    mass = hard_probability(logits, mask)
    needs = predicted_hard(policy, thresholds, main, mass, mask)
    if self._cloud:
      needs = needs & ~offloads_early(policy, thresholds, main)
    extension_logits = np.zeros((count, len(hard_classes)), np.float32)
    if needs.any():
      images, features = jnp.concatenate(batches), jnp.concatenate([f for _, f in outputs])
      for numbers, padded in _padded(np.flatnonzero(needs), self._batch_size):
        rows = [jnp.take(array, padded, axis=0) for array in (images, features)]
        extension_logits[numbers] = np.asarray(self._extension(*rows))[: len(numbers)]
    refuse_nan("extension", extension_logits)
    extension_logits = cooled(extension_logits, temperatures.extension)
    extension, log_edge = scores(extension_logits, hard_classes.numbers), log_softmax(logits)
    if policy.fuses:
      assert self._point.fusion is not None
      fused = fuse_extension(logits, extension_logits, hard_classes, self._point.fusion.edge)
      log_edge = np.where(needs[:, None], fused, log_edge)
      if policy.edge_rule == "fused":
        extension = scores(fused)
    edge = edge_answer(policy, thresholds, main, extension, needs)
    answered = _where(edge.exit == EXTENSION, extension, main)
    return _OnEdge(Prediction(edge.prediction, edge.exit, answered, needs), edge.complex, log_edge)

  def _with_cloud(self, cloud: "_Program", images: Images, on_edge: "_OnEdge") -> Prediction:
    """The edge's answers, but for images that are sent, which the cloud answers."""
    edge, sent, log_edge = on_edge
    if not sent.any():
      return edge
    logits = np.zeros((len(images), self._point.hard_classes.num_classes), np.float32)
    for numbers, padded in _padded(np.flatnonzero(sent), self._batch_size):
      logits[numbers] = np.asarray(cloud(images[padded]))[: len(numbers)]
    refuse_nan("cloud", logits)
    logits = cooled(logits, self._point.temperatures.cloud)
    if self._point.policy.cloud_rule == "fused":
      assert self._point.fusion is not None
      logits = fuse_cloud(log_edge, logits, self._point.fusion.cloud)
    answers = scores(logits)
    return Prediction(
      classes=np.where(sent, answers.prediction, edge.classes),
      exit=np.where(sent, np.int32(CLOUD), edge.exit),
      scores=_where(sent, answers, edge.scores),
      ran_extension=edge.ran_extension,
    )


class _OnEdge(NamedTuple):
  """The edge's answers for n images; which of them are sent; log-probabilities [n, c] of what the
  edge computed, main's or fused with the extension's where that ran.
  """

  answers: Prediction
  complex: Bool[np.ndarray, " n"]
  log_probabilities: Float[np.ndarray, "n c"]


class _Program:
  """A compiled function of some blocks' variables, which stay on the device."""

  def __init__(self, function: Any, variables: Variables, blocks: tuple[str, ...]):
    own = by_collection({block: variables[block] for block in blocks if block in variables})
    self._function = jax.jit(function)
    self._variables = jax.device_put(own, jax.local_devices()[0])

  def __call__(self, *arrays: Any) -> Any:
    return self._function(self._variables, *arrays)


def bucket_sizes(batch_size: int) -> list[int]:
  """Powers of two below the batch size, and the batch size."""
  return [2**power for power in range((batch_size - 1).bit_length())] + [batch_size]


def _padded(
  numbers: Int[np.ndarray, " m"], batch_size: int
) -> Iterator[tuple[Int[np.ndarray, " r"], Int[np.ndarray, " b"]]]:
  """Batches of image numbers, without and with padding; the last is padded to a bucket's size."""
  for part in np.split(numbers, range(batch_size, len(numbers), batch_size)):
    size = next(size for size in bucket_sizes(batch_size) if size >= len(part))
    # With numbers of the same batch: an image that does not need the block never meets it.
    yield part, np.resize(part, size)


def _check(model: MEANet, point: OperatingPoint, batch_size: int) -> None:
  known, num_classes = len(point.hard_classes), point.hard_classes.num_classes
  if known != model.extension.num_classes:
    raise UserError(
      f"the operating point has {known} hard classes; "
      f"accepted: {model.extension.num_classes}, one per logit of the extension"
    )
  if num_classes != model.main.num_classes:
    raise UserError(
      f"the operating point is of {num_classes} classes; accepted: {model.main.num_classes}, "
      "as the networks know"
    )
  if batch_size < 1:
    raise UserError(f"batch_size is {batch_size}; accepted: at least 1")


def _where(mask: Bool[np.ndarray, " n"], these: Scores, those: Scores) -> Scores:
  return Scores(*(np.where(mask, a, b) for a, b in zip(these, those, strict=True)))


def _nothing(count: int) -> Prediction:
  """Answers that the cloud is going to replace."""
  numbers, shares = np.zeros(count, np.int32), np.zeros(count, np.float32)
  return Prediction(
    numbers, numbers, Scores(numbers, shares, shares, shares), np.zeros(count, bool)
  )
