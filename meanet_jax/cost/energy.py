"""Energy, time and bytes of an image, from where it went.

Upload power is the linear model of Huang et al., "A close examination of performance and power
characteristics of 4G LTE networks", MobiSys 2012: P = alpha_u x uplink rate + beta.
"""

import dataclasses
import math
from typing import Any

from meanet_jax.config.schema import CostConfig, DatasetConfig

# One operating point, or an array of them.
Number = Any

# Huang et al. 2012: (alpha_u in mW per Mbit/s, beta in mW).
RADIOS = {"wifi": (283.17, 132.86), "lte": (438.39, 1288.04), "3g": (868.98, 817.88)}


@dataclasses.dataclass(frozen=True)
class BlockMacs:
  """Multiply-accumulates per image; `extension` includes the adaptive block."""

  main: int
  extension: int
  cloud: int


@dataclasses.dataclass(frozen=True)
class ImageCost:
  """Means per image: MACs, bytes sent up, millijoules spent by the edge, milliseconds."""

  macs_edge: Number
  macs_cloud: Number
  bytes_up: Number
  energy_mj: Number
  latency_ms: Number


def upload_bytes(cost: CostConfig, dataset: DatasetConfig) -> int:
  """Bytes that one offloaded image sends: the configured number, or the raw uint8 image."""
  return cost.bytes_per_image or math.prod(dataset.image_shape)


def upload_power_mw(cost: CostConfig) -> float:
  """The radio's power while it sends, in milliwatts."""
  alpha, beta = RADIOS[cost.radio]
  return alpha * cost.uplink_mbps + beta


def upload_ms(cost: CostConfig, num_bytes: Number) -> Number:
  """Milliseconds to send `num_bytes` at the uplink rate, without the round trip."""
  return num_bytes * 8 / (cost.uplink_mbps * 1e6) * 1e3


def image_cost(
  cost: CostConfig,
  macs: BlockMacs,
  image_bytes: Number,
  main_runs: Number,
  extension_runs: Number,
  offloads: Number,
) -> ImageCost:
  """The mean cost of an image.

  Args:
    cost: the constants.
    macs: per block.
    image_bytes: bytes that one offloaded image sends, or their mean.
    main_runs, extension_runs, offloads: the shares of images, in [0, 1], for which the main block
      ran, adaptive and extension block ran, and the image was sent to the cloud.
  """
  macs_edge = main_runs * macs.main + extension_runs * macs.extension
  bytes_up = offloads * image_bytes
  send_ms = upload_ms(cost, bytes_up)
  cloud_ms = macs.cloud / (cost.cloud_gmacs_per_second * 1e9) * 1e3
  return ImageCost(
    macs_edge=macs_edge,
    macs_cloud=offloads * macs.cloud,
    bytes_up=bytes_up,
    # pJ -> mJ is 1e-9; mW x ms -> mJ is 1e-3.
    energy_mj=macs_edge * cost.edge_pj_per_mac * 1e-9 + upload_power_mw(cost) * send_ms * 1e-3,
    latency_ms=macs_edge / (cost.edge_gmacs_per_second * 1e9) * 1e3
    + send_ms
    + offloads * (cost.round_trip_ms + cloud_ms),
  )
