import dataclasses

import pytest

from meanet_jax.config.schema import CostConfig, DatasetConfig
from meanet_jax.cost.energy import (
  BlockMacs,
  CostModel,
  Shares,
  upload_bytes,
  upload_ms,
  upload_power_mw,
)

MACS = BlockMacs(main=1_000_000, extension=3_000_000, cloud=785_000_000)


@pytest.mark.parametrize(
  ("radio", "milliwatts"),
  [
    ("wifi", 283.17 * 18.88 + 132.86),
    ("lte", 438.39 * 18.88 + 1288.04),
    ("3g", 868.98 * 18.88 + 817.88),
  ],
)
def test_upload_power_is_the_linear_model(radio, milliwatts):
  assert upload_power_mw(CostConfig(radio=radio)) == pytest.approx(milliwatts, rel=1e-12)


def test_upload_of_one_megabyte():
  assert upload_ms(CostConfig(uplink_mbps=8.0), 1_000_000) == pytest.approx(1000)


def test_a_known_mixture():
  cost = CostConfig(uplink_mbps=8.0, edge_pj_per_mac=2.0, round_trip_ms=10.0)
  result = CostModel(cost, MACS, 1000).of(Shares(1.0, 0.5, 0.25, 0.0))
  assert result.macs_edge == 2_500_000
  assert result.macs_cloud == 0.25 * 785_000_000
  assert result.bytes_up == 250
  # 2.5 M MACs x 2 pJ = 5 uJ; 250 bytes at 8 Mbit/s = 0.25 ms at (283.17 x 8 + 132.86) mW.
  assert result.energy_mj == pytest.approx(0.005 + 0.25e-3 * (283.17 * 8 + 132.86), rel=1e-12)
  # 2.5 M MACs at 4 G/s, the upload, and a quarter of (10 ms + 785 M MACs at 7,850 G/s).
  assert result.latency_ms == pytest.approx(0.625 + 0.25 + 0.25 * (10 + 0.1), rel=1e-12)


def test_raw_image_unless_told_otherwise():
  dataset = DatasetConfig(image_shape=(32, 32, 3))
  assert upload_bytes(CostConfig(), dataset) == 3072
  assert upload_bytes(CostConfig(bytes_per_image=700), dataset) == 700


def test_more_offload_never_costs_the_edge_less_radio():
  costs = CostModel(CostConfig(), MACS, 3072)
  energies = [costs.energy_mj(Shares(1.0, 0.0, share / 10, 0.0)) for share in range(11)]
  assert energies == sorted(energies)
  assert dataclasses.asdict(costs.of(Shares(0.0, 0.0, 0.0, 0.0))) == {
    "macs_edge": 0,
    "macs_cloud": 0,
    "bytes_up": 0,
    "energy_mj": 0,
    "latency_ms": 0,
    "latency_p95_ms": 0,
  }
