"""What exits say together, where an operating point fuses them: main, extension and cloud."""

from typing import Any

import numpy as np

from meanet_jax.annotations import Float
from meanet_jax.edge.decisions import EdgeDecision
from meanet_jax.edge.link.replies import CloudAnswer
from meanet_jax.routing.fusion import fuse_cloud, fuse_extension, log_softmax
from meanet_jax.routing.operating_point import OperatingPoint

Array = Any  # a NumPy or JAX array


def fuses_cloud(point: OperatingPoint) -> bool:
  """Whether the policy needs the cloud's logits, and not its class alone."""
  return point.policy.cloud_rule == "fused"


def edge_log_probabilities(
  point: OperatingPoint, main: Float[Array, "n c"], extension: Float[Array, "n k"] | None
) -> Float[Array, "n c"]:
  """What the edge says of images over all classes: main's, or fused with the extension's.

  Args:
    point: of a policy that fuses, if there is an extension.
    main, extension: logits, without temperature; None where the extension did not run.
  """
  cooled = main / np.float32(point.temperatures.main)
  if extension is None:
    return log_softmax(cooled)
  assert point.fusion is not None
  other = extension / np.float32(point.temperatures.extension)
  return fuse_extension(cooled, other, point.hard_classes, point.fusion.edge)


def log_probabilities(point: OperatingPoint, decision: EdgeDecision) -> np.ndarray:
  """`edge_log_probabilities` [C] of one decision, for a policy that fuses."""
  main, extension = decision.logits
  given = None if extension is None else extension[None]
  return edge_log_probabilities(point, main[None], given)[0]


def with_cloud(
  point: OperatingPoint, edge: Float[Array, "n c"], cloud: Float[Array, "n c"]
) -> Float[Array, "n c"]:
  """Log-probabilities of edge and cloud together, by the policy's `cloud_rule` `fused`.

  Args:
    point: with fusion weights.
    edge: log-probabilities.
    cloud: logits, without temperature.
  """
  assert point.fusion is not None
  return fuse_cloud(edge, cloud / np.float32(point.temperatures.cloud), point.fusion.cloud)


def cloud_prediction(point: OperatingPoint, decision: EdgeDecision, cloud: Any) -> int:
  """The class of an image that was sent, by the policy's `cloud_rule`.

  Args:
    point: the device's.
    decision: the edge's.
    cloud: the cloud's class; with `fused` its logits [C], without temperature.
  """
  return _fused_with_cloud(point, decision, cloud)[0] if fuses_cloud(point) else int(cloud)


def final_answer(point: OperatingPoint, decision: EdgeDecision, cloud: CloudAnswer) -> CloudAnswer:
  """What the policy's `cloud_rule` makes of the cloud's answer to an image.

  The cloud's own with `replace`, and where `fused` has no logits to work with.
  """
  if not fuses_cloud(point) or cloud.logits is None:
    return cloud
  prediction, probability = _fused_with_cloud(point, decision, cloud.logits)
  return cloud._replace(prediction=prediction, probability=probability)


def _fused_with_cloud(
  point: OperatingPoint, decision: EdgeDecision, cloud: Any
) -> tuple[int, float]:
  """Class and probability of the distribution of edge and cloud, from the cloud's logits [C]."""
  edge = log_probabilities(point, decision)
  fused = with_cloud(point, edge[None], np.asarray(cloud, np.float32)[None])[0]
  return int(np.argmax(fused)), float(np.exp(np.max(fused)))
