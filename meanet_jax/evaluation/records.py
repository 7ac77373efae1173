"""Records: what every exit says about every image of a split, computed from its logits."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from meanet_jax.log import listed, logger
from meanet_jax.models.meanet import Outputs
from meanet_jax.routing.fusion import FusionWeights, fuse_cloud, fuse_extension, log_softmax
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.learned import GainWeights, with_gain
from meanet_jax.routing.operating_point import OperatingPoint, Temperatures
from meanet_jax.routing.policies import Policy
from meanet_jax.routing.rules import Records, Route, extension_scores
from meanet_jax.routing.scores import Scores, hard_probability, scores


class LabelledLogits(NamedTuple):
  """What every exit says about n images, and their true classes.

  outputs: finite NumPy logits [n, ...] of every exit. labels: int32 [n], original class numbers.
  """

  outputs: Outputs
  labels: Int[np.ndarray, " n"]

  def of(self, images: Bool[np.ndarray, " n"] | Int[np.ndarray, " m"]) -> "LabelledLogits":
    """Those of some of the images."""
    return jax.tree.map(lambda values: values[images], self)


def warn_of_absent_classes(images: LabelledLogits, purpose: str) -> None:
  """Warns of classes without an image, of which nothing can be selected or said."""
  absent = np.setdiff1d(np.arange(images.outputs.main.shape[1]), images.labels)
  if len(absent):
    logger.warning(f"no image of class {listed([str(c) for c in absent])} {purpose}")


def cooled(logits: Any, temperature: float) -> Float[np.ndarray, "n c"]:
  """Logits divided by a temperature, float32."""
  return (np.asarray(logits) / np.float32(temperature)).astype(np.float32)


def make_records(
  outputs: Outputs,
  labels: Int[np.ndarray, " n"],
  hard_classes: HardClasses,
  temperatures: Temperatures = Temperatures(),  # noqa: B008 - immutable
  fusion: FusionWeights | None = None,
  gain: GainWeights | None = None,
) -> Records:
  """The records of a split from the logits of all three exits.

  Args:
    outputs: finite NumPy logits [n, ...] of every exit, [n, 0] of an extension that there is none
      of; its scores are main's then, for no rule looks at what did not run.
    labels: of the images, original class numbers.
    hard_classes: and the extension's classes.
    temperatures: positive.
    fusion: None for records without fused scores.
    gain: None for records that no policy of criterion `learned` looks at.
  """
  assert outputs.main is not None
  assert outputs.extension is not None
  assert outputs.cloud is not None
  main, extension, cloud = map(cooled, outputs, temperatures)
  of_main = scores(main)
  records = Records(
    label=labels.astype(np.int32),
    hard_probability=hard_probability(main, hard_classes.mask),
    main=of_main,
    extension=scores(extension, hard_classes.known) if extension.size else of_main,
    cloud=scores(cloud),
  )
  if fusion is None:
    return _with_gain(records, gain)
  fused = fuse_extension(main, extension, hard_classes, fusion.edge)
  with_main, with_fused = (
    np.argmax(fuse_cloud(edge, cloud, fusion.cloud), axis=-1).astype(np.int32)
    for edge in (log_softmax(main), fused)
  )
  records = records._replace(
    fused=scores(fused), cloud_with_main=with_main, cloud_with_fused=with_fused
  )
  return _with_gain(records, gain)


def _with_gain(records: Records, gain: GainWeights | None) -> Records:
  if gain is None:
    return records
  ran = {"main": False, "extension": True} | ({} if records.fused is None else {"fused": True})
  mass = records.hard_probability
  return records._replace(
    **{
      name: with_gain(gain, getattr(records, name), records.main, mass, ran_extension)
      for name, ran_extension in ran.items()
    }
  )


def records_at(point: OperatingPoint, outputs: Outputs, labels: Int[np.ndarray, " n"]) -> Records:
  """The records that an operating point decides by; `outputs` and `labels` as in `make_records`."""
  fitted = point.temperatures, point.fusion, point.gain
  return make_records(outputs, labels, point.hard_classes, *fitted)


def answering_scores(policy: Policy, records: Records, taken: Route) -> Scores:
  """For each image the scores of the exit where it ended, without an expected gain."""
  exits = records.main[:4], extension_scores(policy, records)[:4], records.cloud[:4]
  fields = (np.stack(of_exits) for of_exits in zip(*exits, strict=True))
  return Scores(*(of_exits[taken.exit, np.arange(len(taken.exit))] for of_exits in fields))
