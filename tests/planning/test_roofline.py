import pytest

from meanet_jax.planning.chips import CHIPS, Chip
from meanet_jax.planning.roofline import roofline

MADE_UP = Chip("made up", 100e12, 2**30, 500e9, 256, "nowhere")


def test_limits_by_hand():
  """Per chip: 100 Tflop/s over 2 Gflop are 50,000 images/s; 500 GB/s over 20 MB are 25,000."""
  limits = roofline(MADE_UP, 4, 2e9, 20e6)
  assert limits.compute == 200_000
  assert limits.memory == 100_000
  assert limits.images_per_second == 100_000
  assert limits.bound == "memory"


def test_the_other_bound_and_the_ridge_between_them():
  assert roofline(MADE_UP, 1, 2e9, 5e6).bound == "compute"
  at_ridge = roofline(MADE_UP, 1, 200 * 1e7, 1e7)  # 100e12 / 500e9 = 200 flops per byte
  assert at_ridge.compute == at_ridge.memory == at_ridge.images_per_second


@pytest.mark.parametrize(
  ("name", "teraflops", "gibibytes", "gigabytes_per_second"),
  [("v4", 275, 32, 1200), ("v5e", 197, 16, 819), ("v5p", 459, 95, 2765), ("v6e", 918, 32, 1600)],
)
def test_chips_are_as_published(name, teraflops, gibibytes, gigabytes_per_second):
  (chip,) = (chip for chip in CHIPS.values() if chip.name == name)
  assert chip.flops_per_second == teraflops * 1e12
  assert chip.memory_bytes == gibibytes * 1024**3
  assert chip.bytes_per_second == gigabytes_per_second * 1e9
  assert chip.source.startswith("docs.cloud.google.com/tpu/docs/v")
