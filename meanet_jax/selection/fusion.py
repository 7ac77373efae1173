"""The weights of fused distributions, fitted on selection images."""

import numpy as np
import scipy.optimize
from jaxtyping import Float, Int

from meanet_jax.routing.fusion import FusionWeights, fuse_cloud, fuse_extension, log_softmax
from meanet_jax.routing.hard_classes import HardClasses

Logits = Float[np.ndarray, "n c"]


def fit_fusion(
  logits: tuple[Logits, Float[np.ndarray, "n k"], Logits],
  labels: Int[np.ndarray, " n"],
  hard_classes: HardClasses,
) -> FusionWeights:
  """The weights that minimise the negative log-likelihood of the true classes.

  It is convex in each weight. The edge's is fitted first: only images of the extension's classes
  have a say in it, because main's mass on the others stays. Then the cloud's, with the extension
  counted where main predicts a hard class. A weight that no image has a say in is one half; one
  that is best at an end of 0 .. 1 is there, so that the cloud is fused only where that is better
  than the cloud.

  Args:
    logits: of main, extension and cloud, each divided by its temperature.
    labels: true classes of selection images, which carry no guarantee.
    hard_classes: and the extension's classes.
  """
  main, extension, cloud = (values.astype(np.float64) for values in logits)
  known = hard_classes.known_map[labels] >= 0

  def edge(weight: float) -> Logits:
    return fuse_extension(main, extension, hard_classes, weight)

  at_edge = _best(lambda weight: _loss(edge(weight)[known], labels[known])) if known.any() else 0.5
  taken = hard_classes.mask[np.argmax(main, axis=-1)]
  said = np.where(taken[:, None], edge(at_edge), log_softmax(main))
  at_cloud = _best(lambda w: _loss(fuse_cloud(said, cloud, w), labels)) if len(labels) else 0.5
  return FusionWeights(at_edge, at_cloud)


def _loss(log_probabilities: Logits, labels: Int[np.ndarray, " n"]) -> float:
  return float(-np.mean(log_probabilities[np.arange(len(labels)), labels]))


def _best(loss) -> float:
  """The weight of least loss: scipy's bounded search, or an end of the interval."""
  found = scipy.optimize.minimize_scalar(loss, bounds=(0.0, 1.0), method="bounded")
  return float(min((found.x, 0.0, 1.0), key=loss))
