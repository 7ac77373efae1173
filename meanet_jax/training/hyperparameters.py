"""What of a stage is a number to its program: constants of one run, arrays of a grid's trials."""

from typing import NamedTuple

from jaxtyping import Array, Float

from meanet_jax.config.stages import StageConfig

Number = float | int | Float[Array, ""]


class Hyperparameters(NamedTuple):
  """Numbers that change no shape, Python's or arrays []; `StageConfig` documents them.

  learning_rate: of the step under way; None asks the stage's schedule. momentum, ema_decay: without
  them (Python's 0) a state has no place for them, which an array of 0 does not take from it.
  loss_weights: of the stage's exits in their order; empty weighs nothing.
  head_steps: first steps in which the head alone learns; None asks the stage's epochs.
  """

  learning_rate: Number | None
  momentum: Number
  weight_decay: Number
  label_smoothing: Number
  ema_decay: Number
  loss_weights: tuple[Number, ...]
  head_steps: Number | None = None

  @classmethod
  def of(cls, config: StageConfig) -> "Hyperparameters":
    """Those of a stage."""
    return cls(
      learning_rate=None,
      momentum=config.momentum,
      weight_decay=config.weight_decay,
      label_smoothing=config.label_smoothing,
      ema_decay=config.ema_decay,
      loss_weights=config.loss_weights,
    )
