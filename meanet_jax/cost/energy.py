"""Energy, time and bytes of an image, from where it went.

Upload power is the linear model of Huang et al., "A close examination of performance and power
characteristics of 4G LTE networks", MobiSys 2012: P = alpha_u x uplink rate + beta.
A device profile's measurements replace the model block by block.
"""

import dataclasses
import math

import numpy as np

from meanet_jax.config.schema import CostConfig, DatasetConfig
from meanet_jax.cost.device import BLOCKS, Block, DeviceProfile, Timing
from meanet_jax.cost.latency import Number, mixture_quantile, route_points

# Huang et al. 2012: (alpha_u in mW per Mbit/s, beta in mW).
RADIOS = {"wifi": (283.17, 132.86), "lte": (438.39, 1288.04), "3g": (868.98, 817.88)}


@dataclasses.dataclass(frozen=True)
class BlockMacs:
  """Multiply-accumulates per image; `extension` includes the adaptive block."""

  main: int
  extension: int
  cloud: int


@dataclasses.dataclass(frozen=True)
class Shares:
  """Shares of images, in [0, 1]: numbers, or arrays over operating points.

  main, extension: for which the main block ran, and adaptive and extension block. sent: to the
  cloud. extension_and_sent: both of these.
  """

  main: Number
  extension: Number
  sent: Number
  extension_and_sent: Number


@dataclasses.dataclass(frozen=True)
class ImageCost:
  """Means per image: MACs, bytes sent up, millijoules spent by the edge, milliseconds.

  latency_p95_ms: the 0.95 quantile over images of the latency, in milliseconds.
  """

  macs_edge: Number
  macs_cloud: Number
  bytes_up: Number
  energy_mj: Number
  latency_ms: Number
  latency_p95_ms: Number


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
  shares: Shares,
  profile: DeviceProfile | None = None,
) -> ImageCost:
  """The cost of an image.

  Args:
    cost: the constants of the model; with a profile those of `device_constants`.
    macs: per block.
    image_bytes: bytes that one offloaded image sends, or their mean.
    shares: of images, by what ran for them.
    profile: measured times and energies, which replace the model's block by block; None for the
      model alone.
  """
  return ImageCost(
    macs_edge=_macs(macs, shares, main=True, extension=True),
    macs_cloud=shares.sent * macs.cloud,
    bytes_up=shares.sent * image_bytes,
    energy_mj=edge_energy_mj(cost, macs, image_bytes, shares, profile),
    latency_ms=_latency_ms(cost, macs, image_bytes, shares, profile),
    latency_p95_ms=latency_p95_ms(cost, macs, image_bytes, shares, profile),
  )


def edge_energy_mj(
  cost: CostConfig,
  macs: BlockMacs,
  image_bytes: Number,
  shares: Shares,
  profile: DeviceProfile | None = None,
) -> Number:
  """Mean millijoules per image that the edge spends; arguments as of `image_cost`."""
  main, extension, upload, idle = (
    None if block is None else block.mean_mj for block in _blocks(profile)
  )
  computed = _macs(macs, shares, main=main is None, extension=extension is None)
  # pJ -> mJ is 1e-9; mW x ms -> mJ is 1e-3.
  energy = computed * cost.edge_pj_per_mac * 1e-9
  if upload is None:
    energy = energy + upload_power_mw(cost) * upload_ms(cost, shares.sent * image_bytes) * 1e-3
  runs = (shares.main, shares.extension, shares.sent, shares.sent)
  # The model has nothing for waiting.
  for share, measured in zip(runs, (main, extension, upload, idle), strict=True):
    if measured is not None:
      energy = energy + share * measured
  return energy


def latency_p95_ms(
  cost: CostConfig,
  macs: BlockMacs,
  image_bytes: Number,
  shares: Shares,
  profile: DeviceProfile | None = None,
) -> Number:
  """The 0.95 quantile over images of the latency, in milliseconds; arguments as of `image_cost`.

  With the model alone each route takes one time, and this is the quantile of what images take. What
  a profile's blocks add to it is in `cost/latency.py`. A single image is taken to send as many
  bytes as the mean.
  """
  weights, times = _routes(cost, macs, image_bytes, shares, profile)
  return mixture_quantile(weights, times)


def late_share(
  cost: CostConfig,
  macs: BlockMacs,
  image_bytes: Number,
  shares: Shares,
  profile: DeviceProfile | None,
  limit_ms: float,
) -> Number:
  """The share of images whose latency is above a limit; arguments as of `image_cost`.

  It is at most 0.05 where `latency_p95_ms` is at most the limit.
  """
  weights, times = _routes(cost, macs, image_bytes, shares, profile)
  late = [weight * np.mean(of > limit_ms) for weight, of in zip(weights, times, strict=True)]
  return np.clip(np.sum(np.broadcast_arrays(*late), axis=0), 0, 1)


def _routes(
  cost: CostConfig,
  macs: BlockMacs,
  image_bytes: Number,
  shares: Shares,
  profile: DeviceProfile | None,
) -> tuple[list[Number], list[np.ndarray]]:
  """The shares of images by route, and each route's times (`route_points`)."""
  main, extension, *sending = _block_times(cost, macs, image_bytes, profile)
  both = shares.extension_and_sent
  # An image without the main block goes up as it is.
  raw = np.minimum(1 - shares.main, shares.sent)
  routes = [
    (raw, sending),
    (shares.sent - both - raw, [main, *sending]),
    (both, [main, extension, *sending]),
    (shares.extension - both, [main, extension]),
    (shares.main - shares.extension - (shares.sent - both - raw), [main]),
    (1 - shares.main - raw, []),
  ]
  return [weight for weight, _ in routes], [route_points(of) for _, of in routes]


def _latency_ms(
  cost: CostConfig,
  macs: BlockMacs,
  image_bytes: Number,
  shares: Shares,
  profile: DeviceProfile | None,
) -> Number:
  main, extension, upload, idle = _blocks(profile)
  computed = _macs(macs, shares, main=main is None, extension=extension is None)
  latency = computed / (cost.edge_gmacs_per_second * 1e9) * 1e3
  if main is not None:
    latency = latency + shares.main * main.mean_ms
  if extension is not None:
    latency = latency + shares.extension * extension.mean_ms
  if upload is not None and idle is not None:
    return latency + shares.sent * (upload.mean_ms + idle.mean_ms)
  return (
    latency
    + upload_ms(cost, shares.sent * image_bytes)
    + shares.sent * (cost.round_trip_ms + _cloud_ms(cost, macs))
  )


def _block_times(
  cost: CostConfig, macs: BlockMacs, image_bytes: Number, profile: DeviceProfile | None
) -> list[Timing]:
  """Times of main, extension, and of what an image that is sent adds (one or two)."""
  main, extension, upload, idle = _blocks(profile)

  def computing(num_macs: int) -> Timing:
    milliseconds = num_macs / (cost.edge_gmacs_per_second * 1e9) * 1e3
    return Timing(milliseconds, milliseconds)

  times = [main or computing(macs.main), extension or computing(macs.extension)]
  if upload is not None and idle is not None:
    return [*times, upload, idle]
  sending = float(upload_ms(cost, image_bytes) + cost.round_trip_ms + _cloud_ms(cost, macs))
  return [*times, Timing(sending, sending)]


def _blocks(profile: DeviceProfile | None) -> list[Block | None]:
  return [None if profile is None else profile.block(name) for name in BLOCKS]


def _macs(macs: BlockMacs, shares: Shares, *, main: bool, extension: bool) -> Number:
  """Mean MACs per image of the blocks that are asked for."""
  return shares.main * (macs.main if main else 0) + shares.extension * (
    macs.extension if extension else 0
  )


def _cloud_ms(cost: CostConfig, macs: BlockMacs) -> float:
  return macs.cloud / (cost.cloud_gmacs_per_second * 1e9) * 1e3
