import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from meanet_jax.config.stages import StageConfig
from meanet_jax.training.optimizers import learning_rates, make_optimizer, make_schedule

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


@pytest.mark.parametrize("schedule", ["constant", "step", "cosine", "one_cycle"])
@pytest.mark.parametrize("warmup", [0, 2])
def test_rates_of_all_steps_are_those_of_each(schedule, warmup):
  """A grid's trials have them as numbers."""
  config = dataclasses.replace(BASE, schedule=schedule, step_epochs=(3, 7), warmup_epochs=warmup)
  np.testing.assert_allclose(learning_rates(config, 4, 40), rates(config), rtol=1e-5)
  none = dataclasses.replace(config, epochs=0)
  assert learning_rates(none, 4, 0).shape == (0,)


def test_constant_schedule():
  assert rates(dataclasses.replace(BASE, schedule="constant")) == [pytest.approx(0.4)] * 40


@pytest.mark.parametrize(("warmup", "rise"), [(0, 12), (2, 8)])
def test_one_cycle_schedule(warmup, rise):
  """PyTorch's OneCycleLR with half cosines; warm-up is the length of its rise."""
  config = dataclasses.replace(BASE, schedule="one_cycle", warmup_epochs=warmup)

  def between(low: float, high: float, share: float) -> float:
    return high + (low - high) * (1 + math.cos(math.pi * share)) / 2

  expected = [
    between(0.4 / 25, 0.4, step / rise)
    if step < rise
    else between(0.4, 0.4 / 25 / 1e4, (step - rise) / (40 - rise))
    for step in range(40)
  ]
  np.testing.assert_allclose(rates(config), expected, rtol=1e-4, atol=1e-8)
  assert float(make_schedule(config, 4)(40)) == pytest.approx(0.4 / 25e4, rel=1e-4)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_one_cycle_of_very_few_steps_stays_within_its_peak(steps):
  found = rates(dataclasses.replace(BASE, schedule="one_cycle", epochs=1), steps)
  assert found[0] == pytest.approx(0.4 / 25)
  assert all(0 < rate <= 0.4 * (1 + 1e-6) for rate in found)


@pytest.mark.parametrize("schedule", ["constant", "step", "cosine", "one_cycle"])
def test_a_stage_of_no_epochs_has_a_schedule_all_the_same(schedule):
  """Pretrained weights that are kept: what the configuration says of training is not looked at."""
  config = dataclasses.replace(BASE, schedule=schedule, epochs=0, warmup_epochs=2)
  assert float(make_schedule(config, 4)(0)) == pytest.approx(0.4)


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


def test_lamb_is_the_papers():
  """You et al. 2020, algorithm 2, per tensor; a tensor of norm 0 moves by the plain update."""
  config = StageConfig(
    epochs=3, optimizer="lamb", learning_rate=0.1, weight_decay=0.01, schedule="constant"
  )
  tx = make_optimizer(config, 2)
  start = {"a": np.arange(5.0), "b": np.full((2, 3), 0.5), "zero": np.zeros(4)}

  def gradient(step: int, name: str) -> np.ndarray:
    rng = np.random.default_rng([step, len(name), ord(name[0])])
    return rng.normal(size=start[name].shape)

  def as_float32(tree: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    return {name: jnp.asarray(value, jnp.float32) for name, value in tree.items()}

  ours = as_float32(start)
  state = tx.init(ours)
  expected = dict(start)
  first = {name: np.zeros_like(value) for name, value in start.items()}
  second = {name: np.zeros_like(value) for name, value in start.items()}
  for step in range(6):
    given = {name: gradient(step, name) for name in start}
    updates, state = tx.update(as_float32(given), state, ours)
    ours = optax.apply_updates(ours, updates)
    for name, value in expected.items():
      first[name] = 0.9 * first[name] + 0.1 * given[name]
      second[name] = 0.999 * second[name] + 0.001 * given[name] ** 2
      update = (first[name] / (1 - 0.9 ** (step + 1))) / (
        np.sqrt(second[name] / (1 - 0.999 ** (step + 1))) + 1e-6
      )
      update = update + 0.01 * value
      norms = np.linalg.norm(value), np.linalg.norm(update)
      expected[name] = value - 0.1 * (norms[0] / norms[1] if min(norms) else 1) * update
  found = jax.tree.map(np.asarray, ours)
  for name, value in expected.items():
    np.testing.assert_allclose(found[name], value, rtol=2e-5, atol=1e-6, err_msg=name)
