"""The loss of a stage: cross-entropy, a teacher, weights of classes and images."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from meanet_jax.data.batches import Batch
from meanet_jax.models.meanet import Exits, Outputs
from meanet_jax.training.hyperparameters import Hyperparameters, Number
from meanet_jax.training.stages import Stage


@dataclasses.dataclass(frozen=True, eq=False)
class ExitLoss:
  """The losses of a stage's exits. Pure, as the step that calls it.

  stage: what learns. numbers: its weights, temperatures and smoothing. to_hard: the label map of
  `make_train_step`.
  """

  stage: Stage
  numbers: Hyperparameters
  to_hard: Int[np.ndarray, " c"] | Int[Array, " c"] | None

  def labels(self, exit: Exits, labels: Int[Array, " b"]) -> Int[Array, " b"]:
    """An exit's own labels; -1 for an image of which it does not know the class."""
    if (
      exit is not Exits.EXTENSION
      or self.stage.images == "hard"
      or self.stage.extension_classes == "all"
    ):
      return labels
    return jnp.take(jnp.asarray(self.to_hard), labels, axis=0)

  def counted(self, exit: Exits, labels: Int[Array, " b"]) -> Float[Array, " b"]:
    """1 for an image of which an exit knows the class, else 0."""
    return (self.labels(exit, labels) >= 0).astype(jnp.float32)

  def _teacher(
    self, exit: Exits, teacher: Float[Array, "b c"], classes: int
  ) -> Float[Array, "b k"]:
    if exit is not Exits.EXTENSION or self.stage.extension_classes == "all":
      return teacher
    hard = jnp.flatnonzero(jnp.asarray(self.to_hard) >= 0, size=classes)
    return jnp.take(teacher, hard, axis=-1)

  def _image_weights(self, outputs: Outputs, labels: Int[Array, " b"]) -> Float[Array, " b"]:
    easy, other = (jnp.float32(weight) for weight in self.numbers.image_weights)
    is_hard = jnp.asarray(self.to_hard) >= 0
    predicted = jnp.argmax(exit_logits(outputs, Exits.MAIN), axis=-1)
    runs = jnp.take(is_hard, labels, axis=0) | jnp.take(is_hard, predicted, axis=0)
    return jnp.where(runs, other, easy)

  def __call__(
    self,
    outputs: Outputs,
    exit: Exits,
    batch: Batch,
    share: Float[Array, ""],
    teacher: Float[Array, "b c"] | None,
  ) -> Float[Array, ""]:
    """The mean loss of an exit in a shard, over the images of which it knows the class.

    Args:
      outputs: logits of the stage's exits.
      batch: the shard.
      share: of the images of the global batch that the exit counts.
      teacher: the cloud's logits for the same images; None without one.
    """
    logits, labels = exit_logits(outputs, exit), batch["label"]
    known = self.labels(exit, labels)
    losses = cross_entropy(logits, known, self.numbers.label_smoothing)
    if teacher is not None:
      weight, softened = (
        jnp.float32(self.numbers.teacher_weight),
        jnp.float32(self.numbers.temperature),
      )
      taught = divergence(self._teacher(exit, teacher, logits.shape[-1]), logits, softened)
      losses = (1 - weight) * losses + weight * taught
    if self.numbers.class_weights:
      factors = self.numbers.class_weights[tuple(self.stage.exits).index(exit)]
      losses = losses * jnp.take(jnp.asarray(factors), known, axis=0)
    if exit is Exits.EXTENSION and self.numbers.image_weights:
      losses = losses * self._image_weights(outputs, labels)
    return jnp.mean(self.counted(exit, labels) * losses) / jnp.maximum(share, 1e-9)


def cross_entropy(
  logits: Float[Array, "b c"], labels: Array, smoothing: Number
) -> Float[Array, " b"]:
  """Cross-entropy in nats against labels smoothed over all classes."""
  targets = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
  return optax.softmax_cross_entropy(logits, optax.smooth_labels(targets, smoothing))


def divergence(
  teacher: Float[Array, "b c"], student: Float[Array, "b c"], temperature: Number
) -> Float[Array, " b"]:
  """T^2 KL(teacher || student) in nats, of distributions softened by T (Hinton et al. 2015).

  T^2, because the gradient of the divergence alone shrinks by as much.
  """
  log_teacher, log_student = (
    jax.nn.log_softmax(logits / temperature) for logits in (teacher, student)
  )
  gaps = jnp.exp(log_teacher) * (log_teacher - log_student)
  return temperature * temperature * jnp.sum(gaps, axis=-1)


def exit_logits(outputs: Outputs, exit: Exits) -> Float[Any, "b c"]:
  """The logits of one exit, which the mask must have asked for."""
  logits = {
    Exits.MAIN: outputs.main,
    Exits.EXTENSION: outputs.extension,
    Exits.CLOUD: outputs.cloud,
  }[exit]
  assert logits is not None
  return logits
