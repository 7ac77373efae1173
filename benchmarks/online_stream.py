"""The stream of benchmarks/online_budget.py: real images, harder half-way, and a run's scores."""

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np
import scipy.ndimage

from meanet_jax.config.schema import Config
from meanet_jax.cost.energy import BlockMacs, CostModel, Shares
from meanet_jax.data.splits import ArraySplit
from meanet_jax.edge.link.encoding import Encoding, encode
from meanet_jax.evaluation.records import records_at
from meanet_jax.models.costs import block_macs
from meanet_jax.models.meanet import Exits
from meanet_jax.routing.normalised_threshold import normalised_uncertainty
from meanet_jax.routing.rules import EXTENSION, MAIN, edge_route, extension_scores
from meanet_jax.tflite.source import Source
from meanet_jax.training.forward import ForwardPass
from meanet_jax.training.parallel import replicate


class Stream(NamedTuple):
  """Arrays [n] over images in order, of which the first half is as the test split has them.

  uncertainty: the image's, normalised, of the exit that the edge takes. edge_right, cloud_right:
  bool. edge_confidence, cloud_confidence: maximum probabilities. bytes: of the image as PNG.
  kept_mj, sent_mj: energy of the edge for an image that stays and one that is sent. agrees: bool,
  whether edge and cloud answer alike.
  """

  uncertainty: np.ndarray
  edge_right: np.ndarray
  cloud_right: np.ndarray
  edge_confidence: np.ndarray
  cloud_confidence: np.ndarray
  bytes: np.ndarray
  kept_mj: np.ndarray
  sent_mj: np.ndarray
  agrees: np.ndarray

  @property
  def halves(self) -> tuple["Stream", "Stream"]:
    """Before the change, and after it."""
    half = len(self.uncertainty) // 2
    return self.at(slice(half)), self.at(slice(half, None))

  def at(self, chosen: Any) -> "Stream":
    """The images of these numbers or places."""
    return Stream(*(values[chosen] for values in self))


def harder_half_way(
  images: np.ndarray, noise: float, blur: float, rng: np.random.Generator
) -> np.ndarray:
  """Images [2n, h, w, c], uint8, of which the second half is blurred and gets noise.

  Args:
    images: as they are.
    noise: standard deviation, of 255.
    blur: standard deviation in pixels of an image 8 pixels high; others in proportion to the root
      of their height, as the widths of their strokes are.
    rng: of the noise, each image its own.
  """
  half = len(images) // 2
  blur *= math.sqrt(images.shape[1] / 8)
  harder = scipy.ndimage.gaussian_filter(images[half:].astype(np.float32), (0, blur, blur, 0))
  harder += rng.normal(0, noise, harder.shape).astype(np.float32)
  return np.concatenate([images[:half], np.clip(np.rint(harder), 0, 255).astype(np.uint8)])


def make_stream(source: Source, half: int, noise: float, blur: float) -> Stream:
  """What the run's networks say about the stream, offloads decided after the edge's answer.

  Test images are drawn with replacement; in the second half each gets its own noise.

  Args:
    source: the run.
    half: images before the change, and as many after it.
    noise, blur: see `harder_half_way`.
  """
  rng = np.random.default_rng(0)
  config, test = source.config, source.dataset.test
  drawn = rng.integers(len(test), size=2 * half)
  images = harder_half_way(test.images_at(drawn), noise, blur, rng)
  split = ArraySplit(images, test.labels[drawn])
  forward = ForwardPass(source.model, Exits.ALL, config.dataset, config.evaluation.batch_size)
  logits = forward(replicate(source.variables), split)
  point = source.operating_point
  records = records_at(point, logits, split.labels)
  policy, hard_classes = dataclasses.replace(point.policy, offload="late"), point.hard_classes
  edge = edge_route(policy, point.thresholds, records, hard_classes.mask)
  at_extension, side = edge.exit == EXTENSION, extension_scores(policy, records)
  main, extension = (
    normalised_uncertainty(policy, hard_classes, exit, of)
    for exit, of in ((MAIN, records.main), (EXTENSION, side))
  )
  size = np.array([len(encode(Encoding("png"), image)) for image in split.images])
  macs = block_macs(source.model, config.dataset.image_shape)
  return Stream(
    uncertainty=np.where(at_extension, extension, main),
    edge_right=edge.prediction == split.labels,
    cloud_right=records.cloud.prediction == split.labels,
    edge_confidence=np.where(at_extension, side.max_prob, records.main.max_prob),
    cloud_confidence=records.cloud.max_prob,
    bytes=size,
    kept_mj=millijoules(config, macs, edge.ran_extension, 0 * size),
    sent_mj=millijoules(config, macs, edge.ran_extension, size),
    agrees=edge.prediction == records.cloud.prediction,
  )


def millijoules(
  config: Config, macs: BlockMacs, extended: np.ndarray, sent_bytes: np.ndarray
) -> np.ndarray:
  """Energy of the edge per image, from the cost model and the bytes really sent."""
  return CostModel(config.cost, macs, sent_bytes).energy_mj(Shares(1.0, extended, 1.0, extended))


def accuracy(stream: Stream, goes: np.ndarray) -> float:
  """Of the answers, with the cloud's for the images that go."""
  return float(np.where(goes, stream.cloud_right, stream.edge_right).mean())
