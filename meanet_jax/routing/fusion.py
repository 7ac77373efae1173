"""One distribution over all classes from several exits: main and extension, edge and cloud.

The functions are generic in the array namespace, like the scores: a device computes with NumPy what
an evaluation computed with NumPy or JAX.
"""

from typing import Any, NamedTuple

from meanet_jax.annotations import Float
from meanet_jax.routing.hard_classes import HardClasses

Array = Any  # a NumPy or JAX array


class FusionWeights(NamedTuple):
  """How much the later exit counts in a fused distribution, from 0 (nothing) to 1 (it alone).

  edge: of the extension against main, among the extension's classes. cloud: of the cloud against
  the edge, over all classes.
  """

  edge: float = 0.5
  cloud: float = 0.5


def log_softmax(logits: Float[Array, "*n c"]) -> Float[Array, "*n c"]:
  """Log-probabilities over the last axis."""
  xp = logits.__array_namespace__()
  shifted = logits - xp.max(logits, axis=-1, keepdims=True)
  return shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))


def fuse_extension(
  main: Float[Array, "*n c"],
  extension: Float[Array, "*n k"],
  hard_classes: HardClasses,
  weight: float,
) -> Float[Array, "*n c"]:
  """Log-probabilities of the edge over all classes, from the logits of main and extension.

  Main's mass on classes that the extension does not have stays. On a class c that it has, with
  P(known) main's mass on all of these,

      log q_c = log P(known) + normalised[(1 - w) log p_main(c | known) + w log p_extension(c)]

  Args:
    main, extension: logits, each divided by its exit's temperature.
    hard_classes: the extension's.
    weight: w, `FusionWeights.edge`.
  """
  xp = main.__array_namespace__()
  log_main = log_softmax(main)
  if not len(hard_classes.known):
    return log_main
  known = xp.take(log_main, xp.asarray(hard_classes.known), axis=-1)
  log_mass = _log_sum(known)
  mixed = (1 - weight) * (known - log_mass) + weight * log_softmax(extension)
  fused = log_softmax(mixed) + log_mass
  # Each class takes its place among the extension's; others take any, and are not looked at.
  place = xp.maximum(xp.asarray(hard_classes.known_map), xp.zeros_like(hard_classes.known_map))
  mask = xp.reshape(xp.asarray(hard_classes.known_map >= 0), (1,) * (main.ndim - 1) + (-1,))
  return xp.where(mask, xp.take(fused, place, axis=-1), log_main)


def fuse_cloud(
  edge: Float[Array, "*n c"], cloud: Float[Array, "*n c"], weight: float
) -> Float[Array, "*n c"]:
  """Log-probabilities of edge and cloud together: normalised[(1 - w) log p_edge + w log p_cloud].

  Args:
    edge: the edge's log-probabilities: main's, or fused with the extension's where that ran.
    cloud: the cloud's logits, divided by its temperature.
    weight: w, `FusionWeights.cloud`.
  """
  return log_softmax((1 - weight) * edge + weight * log_softmax(cloud))


def _log_sum(logs: Float[Array, "*n c"]) -> Float[Array, "*n 1"]:
  xp = logs.__array_namespace__()
  top = xp.max(logs, axis=-1, keepdims=True)
  return top + xp.log(xp.sum(xp.exp(logs - top), axis=-1, keepdims=True))
