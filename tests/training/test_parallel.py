"""Devices forced on the CPU need a process of their own: the flag is read when JAX starts."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent.parent


def parameters(devices: int, path: Path) -> dict[str, np.ndarray]:
  subprocess.run(
    [sys.executable, "-m", "tests.training.train_steps", str(path)],
    cwd=ROOT,
    env=os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"},
    check=True,
  )
  with np.load(path) as arrays:
    assert int(arrays["devices"]) == devices
    assert int(arrays["traces"]) == 1  # the loop compiles its step once
    return {name: arrays[name] for name in arrays if "/" in name}


def test_eight_devices_give_the_parameters_of_one(tmp_path: Path):
  """Same global batch, augmentation on, batch norm over all devices; six steps of the edge stage.

  Sums are added in another order, so float32 rounding differs: 1e-5 of a tensor's largest value.
  """
  one, eight = (parameters(count, tmp_path / f"{count}.npz") for count in (1, 8))
  assert one.keys() == eight.keys()
  assert any("batch_stats" in name for name in one)
  for name, value in one.items():
    np.testing.assert_allclose(
      eight[name], value, rtol=0, atol=1e-5 * max(np.abs(value).max(), 1e-2), err_msg=name
    )
