"""Early exit in a batch: the extension and the cloud compute only the images that need them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Int, UInt8

from meanet_jax.config.schema import DatasetConfig
from meanet_jax.data.augment import normalise
from meanet_jax.data.splits import padded_batches
from meanet_jax.errors import UserError
from meanet_jax.evaluation.pool import Pool
from meanet_jax.models.meanet import MEANet
from meanet_jax.models.variables import Variables, by_collection
from meanet_jax.routing.hard_classes import is_hard
from meanet_jax.routing.policies import (
  CLOUD,
  Policy,
  Thresholds,
  edge_answer,
  offloads_early,
  predicted_hard,
)
from meanet_jax.routing.scores import Scores, hard_probability, refuse_nan, scores

PyTree = Any
Cloud = Callable[[UInt8[np.ndarray, "m h w c"]], Int[np.ndarray, " m"]]


class Answers(NamedTuple):
  """Where each of n images ended, in the order of the images.

  exit: int32 [n], `MAIN`, `EXTENSION` or `CLOUD` of `routing/policies.py`. prediction: int32 [n],
  original class numbers. ran_extension: bool [n], whether adaptive and extension block ran.
  complex: bool [n], whether the policy sends the image to the cloud; without a cloud function it
  has the edge's answer all the same.
  """

  exit: Int[np.ndarray, " n"]
  prediction: Int[np.ndarray, " n"]
  ran_extension: Bool[np.ndarray, " n"]
  complex: Bool[np.ndarray, " n"]


class EarlyExit:
  """A MEANet at one operating point, on one device, that runs no block in vain.

  The main block runs on every batch. Images that need the extension wait on the device, over as
  many batches as it takes, until they fill a batch of their own; only the last of them are padded,
  to one of `pool.bucket_sizes`. Every program has a static shape and compiles at its first use.
  Decisions are those of `routing.policies.route`; logits differ from those of another compiled
  program by rounding alone.
  """

  def __init__(
    self,
    model: MEANet,
    variables: Variables,
    policy: Policy,
    thresholds: Thresholds,
    hard_classes: Int[np.ndarray, " k"],
    dataset: DatasetConfig,
    batch_size: int,
    cloud: Cloud | None = None,
  ):
    """Puts the variables on the device; compiles nothing yet.

    Args:
      model: without a mapped axis.
      variables: of main, adaptive and extension block at least.
      policy: the rules.
      thresholds: scalars.
      hard_classes: original class numbers of the extension's logits.
      dataset: image shape and normalisation.
      batch_size: images per run of a block.
      cloud: from m images to m predictions in original class numbers; called at most once per
        `predict`, with the complex images alone. Without it the edge answers them.

    Raises:
      UserError: a number of hard classes that is not the extension's, or an empty batch.
    """
    if len(hard_classes) != model.extension.num_classes:
      raise UserError(
        f"{len(hard_classes)} hard classes given; "
        f"accepted: {model.extension.num_classes}, one per logit of the extension"
      )
    if batch_size < 1:
      raise UserError(f"batch_size is {batch_size}; accepted: at least 1")
    self._policy, self._thresholds, self._cloud = policy, thresholds, cloud
    self._hard_classes = hard_classes.astype(np.int32)
    self._is_hard = is_hard(hard_classes, model.main.num_classes)
    self._image_shape, self._batch_size = dataset.image_shape, batch_size
    # Each program is handed its own blocks only: passing arrays costs time at every call.
    self._main_variables, self._extension_variables = (
      jax.device_put(
        by_collection({block: variables[block] for block in blocks if block in variables}),
        jax.local_devices()[0],
      )
      for blocks in (("main",), ("adaptive", "extension"))
    )

    def main(variables: PyTree, images: Array) -> Any:
      return model.apply(
        variables, normalise(images, dataset.mean, dataset.std), method="main_exit"
      )

    def extension(variables: PyTree, waiting: PyTree, size: int) -> Any:
      images, features = jax.tree.map(lambda x: x[:size], waiting)
      images = normalise(images, dataset.mean, dataset.std)
      return model.apply(variables, images, features, method="extend")

    self._main = jax.jit(main)
    self._extension = jax.jit(extension, static_argnames="size")

  def predict(self, images: UInt8[np.ndarray, "n h w c"]) -> Answers:
    """An answer for every image, in input order; n is any number.

    Raises:
      UserError: images of another shape, NaN or infinite logits, or a cloud that answers in
        another shape.
    """
    if images.shape[1:] != self._image_shape:
      raise UserError(f"images are {images.shape[1:]}; accepted: {self._image_shape}")
    count = len(images)
    if not count or (self._cloud and self._policy.offload == "always"):
      every = np.ones(count, bool)
      return self._ask_cloud(images, Answers(*np.zeros((2, count), np.int32), ~every, every))
    extension_logits = np.zeros((count, len(self._hard_classes)), np.float32)
    pool = Pool(self._run_extension, self._batch_size, extension_logits)
    parts: list[Any] = []
    pending: Any = None
    for start, (batch, real) in zip(
      range(0, count, self._batch_size), padded_batches(images, self._batch_size), strict=True
    ):
      on_device = jax.device_put(batch)
      logits, features = self._main(self._main_variables, on_device)
      # Decided one batch late, so that the device has work while the host decides.
      if pending is not None:
        parts.append(self._decide(pool, *pending))
      pending = (start, logits, real, (on_device, features))
    parts.append(self._decide(pool, *pending))
    main, ran_extension = jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
    pool.finish()
    refuse_nan("extension", extension_logits)
    extension = scores(extension_logits, self._hard_classes)
    edge = edge_answer(self._policy, self._thresholds, main, extension, ran_extension)
    return self._ask_cloud(images, Answers(edge.exit, edge.prediction, ran_extension, edge.complex))

  def _decide(
    self, pool: Pool, start: int, logits: Array, real: int, rows: PyTree
  ) -> tuple[Scores, Bool[np.ndarray, " b"]]:
    """Scores of one batch's real images, and which of them now wait for the extension."""
    main_logits = np.asarray(logits)[:real]
    refuse_nan("main", main_logits)
    main = scores(main_logits)
    hard = predicted_hard(
      self._policy,
      main,
      hard_probability(main_logits, self._is_hard),
      self._is_hard,
      self._thresholds.hard,
    )
    if self._cloud:
      hard = hard & ~offloads_early(self._policy, self._thresholds, main)
    pool.add(rows, np.flatnonzero(hard), start)
    return main, hard

  def _run_extension(self, waiting: PyTree, size: int) -> Array:
    return self._extension(self._extension_variables, waiting, size=size)

  def _ask_cloud(self, images: UInt8[np.ndarray, "n h w c"], edge: Answers) -> Answers:
    sent = np.flatnonzero(edge.complex)
    if self._cloud is None or not len(sent):
      return edge
    predictions = self._cloud(images[sent])
    if predictions.shape != sent.shape:
      raise UserError(f"the cloud answered {predictions.shape}; accepted: {sent.shape}")
    exit, prediction = edge.exit.copy(), edge.prediction.copy()
    exit[sent], prediction[sent] = CLOUD, predictions
    return edge._replace(exit=exit, prediction=prediction)
