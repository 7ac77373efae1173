"""What exits say together, where an operating point fuses them: main, extension and cloud."""

from typing import Any

import numpy as np

from meanet_jax.edge.decisions import EdgeDecision
from meanet_jax.edge.link.replies import CloudAnswer
from meanet_jax.routing.fusion import fuse_cloud, fuse_extension, log_softmax
from meanet_jax.routing.operating_point import OperatingPoint


def fuses_cloud(point: OperatingPoint) -> bool:
  """Whether the policy needs the cloud's logits, and not its class alone."""
  return point.policy.cloud_rule == "fused"


def fused_edge(point: OperatingPoint, main: np.ndarray, extension: np.ndarray) -> np.ndarray:
  """Log-probabilities [n, C] from the logits of main [n, C] and extension, without temperature."""
  assert point.fusion is not None
  return fuse_extension(
    main / np.float32(point.temperatures.main),
    extension / np.float32(point.temperatures.extension),
    point.hard_classes,
    point.fusion.edge,
  )


def log_probabilities(point: OperatingPoint, decision: EdgeDecision) -> np.ndarray:
  """What the edge says of an image over all classes [C]: main's, or fused with the extension's.

  The latter where the extension ran, of a policy that fuses.
  """
  main, extension = decision.logits
  if extension is None or not point.policy.fuses:
    return log_softmax(main / np.float32(point.temperatures.main))
  return fused_edge(point, main[None], extension[None])[0]


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
  assert point.fusion is not None
  cooled = np.asarray(cloud, np.float32) / np.float32(point.temperatures.cloud)
  fused = fuse_cloud(edge, cooled, point.fusion.cloud)
  return int(np.argmax(fused)), float(np.exp(np.max(fused)))
