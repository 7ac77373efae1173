"""Prediction at an operating point: each block computes only the images that need it."""

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from meanet_jax.config.schema import Config, DatasetConfig
from meanet_jax.data.augment import normalise
from meanet_jax.data.padding import bucket_sizes, padded_batches
from meanet_jax.errors import UserError
from meanet_jax.evaluation.records import answering_scores, records_at
from meanet_jax.evaluation.systems import route_selected
from meanet_jax.models.meanet import MEANet, Outputs
from meanet_jax.models.variables import Variables, by_collection
from meanet_jax.routing.operating_point import OperatingPoint
from meanet_jax.routing.rules import CLOUD, Records, Route
from meanet_jax.routing.scores import Scores, refuse_nan
from meanet_jax.selection.baselines import edge_only

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


@runtime_checkable
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
  `EXTENSION` or `CLOUD` of `routing/rules.py`. scores: those of that exit, arrays [n]; at the
  extension those of the distribution that the policy answers by, and at the cloud the cloud's own.
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
  those of `routing.rules.route`; logits differ from those of another compiled program by
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
    _check(model, operating_point, batch_size)
    self._batch_size, self._image_shape = batch_size, dataset.image_shape
    self._point = operating_point if "cloud" in variables else _alone(operating_point)

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

  def predict(self, images: np.ndarray) -> Prediction:
    """Classifies any number of images, uint8 [n, h, w, c], in input order.

    Raises:
      UserError: images of another shape or type, or NaN or infinite logits.
    """
    shape = self._image_shape
    if images.ndim != 4 or images.shape[1:] != shape or images.dtype != np.uint8:
      accepted = ", ".join(map(str, shape))
      raise UserError(f"images are {images.dtype} {images.shape}; accepted: uint8 (n, {accepted})")
    outputs = self._on_edge(images)
    records, taken = self._route(outputs)
    sent = np.flatnonzero(taken.exit == CLOUD)
    if self._cloud is not None and len(sent):
      outputs = outputs._replace(cloud=self._on_cloud(self._cloud, images, sent))
      records, taken = self._route(outputs)
    scores = answering_scores(self._point.policy, records, taken)
    return Prediction(taken.prediction, taken.exit, scores, taken.ran_extension)

  def _route(self, outputs: Outputs) -> tuple[Records, Route]:
    """What the policy does with logits; those that were not computed do not count.

    Main's decide for which images the extension runs, main's and the extension's which are sent.
    """
    assert outputs.main is not None
    unknown = np.zeros(len(outputs.main), np.int32)
    records = records_at(self._point, outputs, unknown)
    return records, route_selected(self._point, records)

  def _on_edge(self, images: Images) -> Outputs:
    """Logits of the edge's exits, 0 where an exit did not run, and zeros for the cloud's."""
    policy, size = self._point.policy, self._batch_size * _BATCHES_PER_ROUND
    if policy.offload == "always" and policy.cloud_rule == "replace":
      return self._zeros(len(images))
    parts = [self._zeros(0)]
    pending: Any = None
    for start in range(0, len(images), size):
      begun = self._begin(images[start : start + size])
      # Finished one round late, so that the device has work while the host decides.
      if pending is not None:
        parts.append(self._finish(*pending))
      pending = begun
    if pending is not None:
      parts.append(self._finish(*pending))
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)

  def _begin(self, images: Images) -> tuple[int, list[Array], list[Any]]:
    """Starts the main block on every batch; waits for none."""
    batches = [jax.device_put(batch) for batch, _ in padded_batches(images, self._batch_size)]
    return len(images), batches, [self._main(batch) for batch in batches]

  def _finish(self, count: int, batches: list[Array], begun: list[Any]) -> Outputs:
    """Main's logits of a round, and the extension's where the policy runs it."""
    main = np.concatenate([np.asarray(logits) for logits, _ in begun])[:count]
    refuse_nan("main", main)
    outputs = self._zeros(count)._replace(main=main)
    needs = np.flatnonzero(self._route(outputs)[1].ran_extension)
    if not len(needs):
      return outputs
    images, features = jnp.concatenate(batches), jnp.concatenate([f for _, f in begun])
    extension = np.array(outputs.extension)
    for numbers, padded in _padded(needs, self._batch_size):
      rows = [jnp.take(array, padded, axis=0) for array in (images, features)]
      extension[numbers] = np.asarray(self._extension(*rows))[: len(numbers)]
    refuse_nan("extension", extension)
    return outputs._replace(extension=extension)

  def _on_cloud(
    self, cloud: "_Program", images: Images, sent: Int[np.ndarray, " m"]
  ) -> Float[np.ndarray, "n classes"]:
    """The cloud's logits of the images that are sent, and zeros."""
    logits = np.zeros((len(images), self._point.hard_classes.num_classes), np.float32)
    for numbers, padded in _padded(sent, self._batch_size):
      logits[numbers] = np.asarray(cloud(images[padded]))[: len(numbers)]
    refuse_nan("cloud", logits)
    return logits

  def _zeros(self, count: int) -> Outputs:
    classes = self._point.hard_classes
    every = np.zeros((count, classes.num_classes), np.float32)
    return Outputs(every, np.zeros((count, len(classes.known)), np.float32), every)


class _Program:
  """A compiled function of some blocks' variables, which stay on the device."""

  def __init__(self, function: Any, variables: Variables, blocks: tuple[str, ...]):
    own = by_collection({block: variables[block] for block in blocks if block in variables})
    self._function = jax.jit(function)
    self._variables = jax.device_put(own, jax.local_devices()[0])

  def __call__(self, *arrays: Any) -> Any:
    return self._function(self._variables, *arrays)


def _padded(
  numbers: Int[np.ndarray, " m"], batch_size: int
) -> Iterator[tuple[Int[np.ndarray, " r"], Int[np.ndarray, " b"]]]:
  """Batches of image numbers, without and with padding; the last is padded to a bucket's size."""
  for part in np.split(numbers, range(batch_size, len(numbers), batch_size)):
    size = next(size for size in bucket_sizes(batch_size) if size >= len(part))
    # With numbers of the same batch: an image that does not need the block never meets it.
    yield part, np.resize(part, size)


def _check(model: MEANet, point: OperatingPoint, batch_size: int) -> None:
  known, num_classes = len(point.hard_classes.known), point.hard_classes.num_classes
  if known != model.extension.num_classes:
    raise UserError(
      f"the operating point has {known} classes for the extension; "
      f"accepted: {model.extension.num_classes}, one per logit of the extension"
    )
  if num_classes != model.main.num_classes:
    raise UserError(
      f"the operating point is of {num_classes} classes; accepted: {model.main.num_classes}, "
      "as the networks know"
    )
  if batch_size < 1:
    raise UserError(f"batch_size is {batch_size}; accepted: at least 1")


def _alone(point: OperatingPoint) -> OperatingPoint:
  """The same without a cloud: the edge answers what it would have sent."""
  return dataclasses.replace(point, policy=edge_only(point.policy))
