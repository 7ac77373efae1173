"""Optimisers and learning rate schedules from a stage's configuration."""

import optax

from meanet_jax.config import StageConfig


def make_schedule(config: StageConfig, steps_per_epoch: int) -> optax.Schedule:
  """The learning rate as a function of the steps taken."""
  peak, warmup = config.learning_rate, config.warmup_epochs * steps_per_epoch
  total = max(config.epochs * steps_per_epoch, 1)
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


def make_optimizer(config: StageConfig, steps_per_epoch: int) -> optax.GradientTransformation:
  """SGD with momentum and weight decay inside the gradient, as in PyTorch; or AdamW."""
  schedule = make_schedule(config, steps_per_epoch)
  if config.optimizer == "adamw":
    return optax.adamw(schedule, b1=config.momentum, weight_decay=config.weight_decay)
  return optax.chain(
    optax.add_decayed_weights(config.weight_decay),
    optax.sgd(schedule, momentum=config.momentum or None),
  )
