"""Optimisers and learning rate schedules from a stage's configuration."""

import jax
import numpy as np
import optax
from jaxtyping import Float

from meanet_jax.config.stages import StageConfig
from meanet_jax.training.hyperparameters import Hyperparameters
from meanet_jax.training.parts import hold_but_head, scale_parts

# PyTorch's and optax's defaults for one cycle (Smith and Topin 2018): share of the steps that rise,
# peak / first rate, first rate / last rate.
RISE, DIVIDE_FIRST, DIVIDE_LAST = 0.3, 25.0, 1e4


def make_schedule(config: StageConfig, steps_per_epoch: int) -> optax.Schedule:
  """The learning rate as a function of the steps taken.

  Warm-up is a linear rise from 0, after which `step`, `cosine` and `constant` begin: `step` counts
  its epochs from the start of the stage, `cosine` falls over what is left. `one_cycle` rises and
  falls along half cosines, as in PyTorch; warm-up is the length of its rise. Momentum stays.
  """
  peak, warmup = config.learning_rate, config.warmup_epochs * steps_per_epoch
  total = config.epochs * steps_per_epoch
  if not total:
    return optax.constant_schedule(peak)  # no step is taken
  if config.schedule == "one_cycle":
    rise = warmup or max(round(RISE * total), 1)
    return optax.piecewise_interpolate_schedule(
      "cosine",
      peak / DIVIDE_FIRST,
      {rise: DIVIDE_FIRST, total: 1 / (DIVIDE_FIRST * DIVIDE_LAST)},
    )
  if config.schedule == "step":
    after: optax.Schedule = optax.piecewise_constant_schedule(
      peak,
      {epoch * steps_per_epoch - warmup: config.step_factor for epoch in config.step_epochs},
    )
  elif config.schedule == "cosine":
    after = optax.cosine_decay_schedule(peak, total - warmup)
  else:
    after = optax.constant_schedule(peak)
  if not warmup:
    return after
  return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), after], [warmup])


def learning_rates(
  config: StageConfig, steps_per_epoch: int, steps: int
) -> Float[np.ndarray, " steps"]:
  """The schedule's rates at steps 0 to `steps` - 1, float32."""
  # Each by itself, as a step asks for it: not every schedule of Optax takes arrays.
  return np.array(jax.vmap(make_schedule(config, steps_per_epoch))(np.arange(steps)), np.float32)


def make_optimizer(
  config: StageConfig, steps_per_epoch: int, numbers: Hyperparameters | None = None
) -> optax.GradientTransformation:
  """SGD with momentum and weight decay inside the gradient, as in PyTorch; AdamW; or LAMB.

  LAMB (You et al. 2020) is AdamW's update of every tensor, scaled to the norm of its parameters.

  Args:
    config: the stage's. A momentum of 0 leaves its state out.
    steps_per_epoch: of the schedule.
    numbers: in the place of the configuration's.
  """
  numbers = numbers or Hyperparameters.of(config)
  rate, decay = numbers.learning_rate, numbers.weight_decay
  # A schedule either way, because its count of steps is a part of the state.
  schedule = make_schedule(config, steps_per_epoch) if rate is None else lambda _: rate
  held = []  # nothing, so that a state without held parts has no place for them
  if config.head_epochs:
    steps = numbers.head_steps
    held = [hold_but_head(config.head_epochs * steps_per_epoch if steps is None else steps)]
  scaled = [scale_parts(config)] if config.freeze or config.learning_rate_factors else []
  if config.optimizer == "lamb":
    own = optax.lamb(schedule, b1=numbers.momentum, weight_decay=decay)
  elif config.optimizer == "adamw":
    own = optax.adamw(schedule, b1=numbers.momentum, weight_decay=decay)
  else:
    sgd = optax.sgd(schedule, momentum=numbers.momentum if config.momentum else None)
    # Held behind the decay, which else would gather in the momentum.
    return optax.chain(optax.add_decayed_weights(decay), *held, sgd, *scaled)
  # Gradients, and afterwards the decay, which these optimisers add by themselves.
  return optax.chain(*held, own, *held, *scaled) if held or scaled else own
