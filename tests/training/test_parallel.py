"""Devices forced on the CPU need a process of their own: the flag is read when JAX starts."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meanet_jax.config.parsing import resolve
from meanet_jax.data.augment import augment, normalise
from meanet_jax.data.batches import Order
from meanet_jax.data.sources import load
from meanet_jax.models.variables import init_variables
from meanet_jax.models.zoo import build
from meanet_jax.training.steps import stage_key
from tests.devices import forced_devices
from tests.experiments import tiny_config
from tests.forked_commands import run_command
from tests.rounding import OF_TINY_STEPS


def parameters(
  devices: int, path: Path, batch_norm: str = "synchronised", steps: int = 6
) -> dict[str, np.ndarray]:
  command = ("-m", "tests.training.train_steps", path, batch_norm, str(steps))
  assert run_command(*command, env=forced_devices(devices)).returncode == 0
  with np.load(path) as arrays:
    assert int(arrays["devices"]) == devices
    assert int(arrays["traces"]) == 1  # the loop compiles its step once
    return {name: arrays[name] for name in arrays if "/" in name}


def test_eight_devices_give_the_parameters_of_one(tmp_path: Path):
  """Same global batch, augmentation on, batch norm over all devices; six steps of the edge stage.

  Sums are added in another order, so float32 rounding differs.
  """
  one, eight = (parameters(count, tmp_path / f"{count}.npz") for count in (1, 8))
  assert one.keys() == eight.keys()
  assert any("batch_stats" in name for name in one)
  for name, value in one.items():
    np.testing.assert_allclose(
      eight[name], value, rtol=0, atol=OF_TINY_STEPS * max(np.abs(value).max(), 1e-2), err_msg=name
    )


@pytest.fixture(scope="module")
def after_one_step(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, np.ndarray]]:
  """Of 16 devices, by how batch norm sees them."""
  path = tmp_path_factory.mktemp("steps")
  ways = ("per_device", "synchronised")
  return {way: parameters(16, path / f"{way}.npz", way, 1) for way in ways}


def test_batch_norm_per_device_normalises_each_shard_alone(after_one_step):
  """The first step's statistics of the adaptive block's first norm, by hand.

  Every device sees 64 / 16 images; running statistics are 0.9 of their start (mean 0, variance 1)
  and 0.1 of the mean of the devices' own. The mean of means is the batch's; that of variances is
  not, by the variance of the means.
  """
  found, shared = after_one_step["per_device"], after_one_step["synchronised"]
  config = resolve(tiny_config())
  train = load(config.dataset).train
  train = train.select(np.arange(len(train)), train.labels % 5)
  augmented = config.stages.edge.augment
  batch = train.training_batches(Order(len(train), 0, "edge", 64), augmented)(0)
  key = jax.random.fold_in(stage_key(0, "edge"), 0)
  pixels, position = jnp.asarray(train.images[batch["index"]]), jnp.asarray(batch["position"])
  pixels = augment(pixels, position, key, augmented)
  variables = init_variables(build(config), 0, config.dataset.image_shape, ("adaptive",))
  kernel = variables["adaptive"]["params"]["stem"]["conv"]["kernel"]
  images = np.pad(
    normalise(pixels, config.dataset.mean, config.dataset.std), ((0, 0), (1, 1), (1, 1), (0, 0))
  ).astype(np.float64)
  convolved = sum(
    images[:, row : row + 8, column : column + 8] @ np.asarray(kernel[row, column], np.float64)
    for row in range(3)
    for column in range(3)
  )
  shards = convolved.reshape(16, -1, convolved.shape[-1])
  mean, whole = 0.1 * shards.mean((0, 1)), 0.9 + 0.1 * convolved.reshape(-1, 4).var(0)
  alone = 0.9 + 0.1 * shards.var(1).mean(0)
  name = "adaptive/batch_stats/stem/norm"
  np.testing.assert_allclose(found[f"{name}/mean"], mean, rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(shared[f"{name}/mean"], mean, rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(found[f"{name}/var"], alone, rtol=3e-6)
  np.testing.assert_allclose(shared[f"{name}/var"], whole, rtol=3e-6)
  assert np.abs(whole / alone - 1).max() > 5e-5  # far more than what passes above
