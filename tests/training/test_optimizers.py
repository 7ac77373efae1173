import dataclasses
import math

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from meanet_jax.config import StageConfig
from meanet_jax.training.optimizers import make_optimizer, make_schedule

BASE = StageConfig(epochs=10, learning_rate=0.4)


def rates(config: StageConfig, steps_per_epoch: int = 4) -> list[float]:
  schedule = make_schedule(config, steps_per_epoch)
  return [float(schedule(step)) for step in range(config.epochs * steps_per_epoch)]


@pytest.mark.parametrize("warmup", [0, 2])
def test_step_schedule(warmup):
  config = dataclasses.replace(
    BASE, schedule="step", step_epochs=(3, 7), step_factor=0.2, warmup_epochs=warmup
  )
  expected = [
    0.4 * min(1, step / (4 * warmup) if warmup else 1) * 0.2 ** ((step >= 12) + (step >= 28))
    for step in range(40)
  ]
  np.testing.assert_allclose(rates(config), expected, rtol=1e-6)


@pytest.mark.parametrize("warmup", [0, 2])
def test_cosine_schedule(warmup):
  config = dataclasses.replace(BASE, schedule="cosine", warmup_epochs=warmup)
  begin = 4 * warmup
  expected = [
    0.4 * step / begin
    if step < begin
    else 0.2 * (1 + math.cos(math.pi * (step - begin) / (40 - begin)))
    for step in range(40)
  ]
  np.testing.assert_allclose(rates(config), expected, rtol=1e-5, atol=1e-8)


def test_constant_schedule():
  assert rates(dataclasses.replace(BASE, schedule="constant")) == [pytest.approx(0.4)] * 40


def gradients(step: int) -> np.ndarray:
  return np.random.default_rng(step).normal(size=5)


def run(config: StageConfig) -> np.ndarray:
  tx = make_optimizer(config, 2)
  params = jnp.arange(5, dtype=jnp.float32)
  state = tx.init(params)
  for step in range(6):
    updates, state = tx.update(jnp.asarray(gradients(step), jnp.float32), state, params)
    params = optax.apply_updates(params, updates)
  return np.asarray(params)


def test_sgd_is_pytorchs():
  config = StageConfig(
    epochs=3, learning_rate=0.1, weight_decay=0.01, schedule="step", step_epochs=(2,)
  )
  params, velocity = np.arange(5.0), np.zeros(5)
  for step in range(6):
    velocity = 0.9 * velocity + gradients(step) + 0.01 * params
    params = params - 0.1 * (0.1 if step >= 4 else 1) * velocity
  np.testing.assert_allclose(run(config), params, rtol=1e-5)


def test_adamw_is_the_papers():
  config = StageConfig(
    epochs=3, optimizer="adamw", learning_rate=0.1, weight_decay=0.01, schedule="constant"
  )
  params, first, second = np.arange(5.0), np.zeros(5), np.zeros(5)
  for step in range(6):
    gradient = gradients(step)
    first = 0.9 * first + 0.1 * gradient
    second = 0.999 * second + 0.001 * gradient**2
    update = (first / (1 - 0.9 ** (step + 1))) / (
      np.sqrt(second / (1 - 0.999 ** (step + 1))) + 1e-8
    )
    params = params - 0.1 * (update + 0.01 * params)
  np.testing.assert_allclose(run(config), params, rtol=1e-5)
