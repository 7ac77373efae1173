"""What an exit says about an image, and how uncertain that makes it."""

import math
from typing import Any, NamedTuple

import numpy as np

from meanet_jax.annotations import Bool, Float, Int, Shaped
from meanet_jax.config.schema import Criterion
from meanet_jax.errors import UserError

Array = Any  # a NumPy or JAX array


class Scores(NamedTuple):
  """One exit's answers for n images.

  prediction: int32 [n], in original class numbers.
  max_prob: float32 [n], the largest probability.
  entropy: float32 [n], nats, over the classes that the exit knows.
  margin: float32 [n], largest minus second largest probability.
  gain: float32 [n], what `learned` compares where this exit answers (`learned.py`); None for
    policies of another criterion.
  """

  prediction: Int[Array, "*n"]
  max_prob: Float[Array, "*n"]
  entropy: Float[Array, "*n"]
  margin: Float[Array, "*n"]
  gain: Float[Array, "*n"] | None = None


def refuse_nan(exit: str, logits: Float[np.ndarray, "n c"]) -> None:
  """Refuses logits that are no finite numbers.

  Their uncertainty is NaN, and every comparison with a threshold lets that pass in silence.

  Raises:
    UserError: naming the exit and how many of its images are affected.
  """
  bad = int((~np.isfinite(logits)).any(axis=-1).sum())
  if bad:
    raise UserError(
      f"exit {exit} has NaN or infinite logits for {bad} of {len(logits)} images; accepted: none"
    )


def softmax(logits: Float[Array, "*n c"]) -> Float[Array, "*n c"]:
  """Probabilities over the last axis."""
  xp = logits.__array_namespace__()
  exp = xp.exp(logits - xp.max(logits, axis=-1, keepdims=True))
  return exp / xp.sum(exp, axis=-1, keepdims=True)


def scores(logits: Float[Array, "*n c"], classes: Int[Array, " c"] | None = None) -> Scores:
  """The scores of an exit from its logits.

  Args:
    logits: [..., c].
    classes: the original class number of each logit; None when they are 0 .. c - 1.
  """
  xp = logits.__array_namespace__()
  probabilities = softmax(logits)
  index = xp.argmax(logits, axis=-1).astype(xp.int32)
  top = xp.max(probabilities, axis=-1)
  shifted = logits - xp.max(logits, axis=-1, keepdims=True)
  # log(sum exp) - mean logit: stays exact where a probability underflows to 0.
  log_sum = xp.log(xp.sum(xp.exp(shifted), axis=-1))
  entropy = log_sum - xp.sum(probabilities * shifted, axis=-1)
  return Scores(
    prediction=index if classes is None else xp.take(classes, index, axis=0).astype(xp.int32),
    max_prob=top,
    entropy=xp.maximum(entropy, xp.zeros_like(entropy)),
    # An exit that knows a single class is never in doubt between two.
    margin=top - _second(probabilities, index) if logits.shape[-1] > 1 else xp.ones_like(top),
  )


def _second(probabilities: Float[Array, "*n c"], first: Int[Array, "*n"]) -> Float[Array, "*n"]:
  """The largest probability elsewhere than at `first`. Without a sort, which TF Lite has not."""
  xp = probabilities.__array_namespace__()
  size = probabilities.shape[-1]
  numbers = xp.reshape(xp.arange(size, dtype=xp.int32), (1,) * first.ndim + (size,))
  elsewhere = numbers != first[..., None]
  return xp.max(xp.where(elsewhere, probabilities, xp.zeros_like(probabilities)), axis=-1)


def hard_probability(
  logits: Float[Array, "*n c"], is_hard: Bool[Array, " c"]
) -> Float[Array, "*n"]:
  """The probability mass that an exit over all classes puts on the hard ones."""
  xp = logits.__array_namespace__()
  probabilities = softmax(logits)
  return xp.sum(xp.where(is_hard, probabilities, xp.zeros_like(probabilities)), axis=-1)


def uncertainty(criterion: Criterion, exit_scores: Scores) -> Shaped[Array, "*n"]:
  """How uncertain an exit is: entropy in nats, 1 - max_prob, 1 - margin, or the expected gain."""
  if criterion == "learned":
    assert exit_scores.gain is not None, "scores without an expected gain"
    return exit_scores.gain
  if criterion == "entropy":
    return exit_scores.entropy
  return 1 - (exit_scores.max_prob if criterion == "max_prob" else exit_scores.margin)


def largest_uncertainty(criterion: Criterion, num_classes: int) -> float:
  """The uncertainty of a uniform answer over `num_classes`: ln c, 1 - 1 / c, or 1.

  Of `learned` it is the largest gain that there can be.
  """
  return {
    "entropy": math.log(num_classes),
    "max_prob": 1 - 1 / num_classes,
    "margin": 1.0,
    "learned": 1.0,
  }[criterion]


def least_uncertainty(criterion: Criterion) -> float:
  """The uncertainty of an exit without any doubt: 0; of `learned` the largest loss, -1."""
  return -1.0 if criterion == "learned" else 0.0
