"""What of a stage is a number to its program: constants of one run, arrays of a grid's trials."""

from typing import Any, NamedTuple

from jaxtyping import Array, Float

from meanet_jax.config.stages import StageConfig

Number = float | int | Float[Array, ""]
Factors = Any  # float32 [c], NumPy or JAX


class Hyperparameters(NamedTuple):
  """Numbers that change no shape, Python's or arrays []; `StageConfig` documents them.

  learning_rate: of the step under way; None asks the stage's schedule. momentum, ema_decay: without
  them (Python's 0) a state has no place for them, which an array of 0 does not take from it.
  loss_weights: of the stage's exits in their order; empty weighs nothing.
  class_weights: of the classes of each of these exits; empty weighs nothing.
  image_weights: of images for an extension that has all classes: easy ones, and the others; empty
  weighs nothing.
  teacher_weight, temperature: `DistillationConfig`, read where a stage has a teacher.
  head_steps: first steps in which the head alone learns; None asks the stage's epochs.
  """

  learning_rate: Number | None
  momentum: Number
  weight_decay: Number
  label_smoothing: Number
  ema_decay: Number
  loss_weights: tuple[Number, ...]
  class_weights: tuple[Factors, ...] = ()
  image_weights: tuple[Number, ...] = ()
  teacher_weight: Number = 0.0
  temperature: Number = 1.0
  head_steps: Number | None = None

  @classmethod
  def of(cls, config: StageConfig) -> "Hyperparameters":
    """Those of a stage, but for what a run's images and hard classes say (`run_numbers`)."""
    return cls(
      learning_rate=None,
      momentum=config.momentum,
      weight_decay=config.weight_decay,
      label_smoothing=config.label_smoothing,
      ema_decay=config.ema_decay,
      loss_weights=config.loss_weights,
      teacher_weight=config.distillation.weight,
      temperature=config.distillation.temperature,
    )
