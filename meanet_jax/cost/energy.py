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


@dataclasses.dataclass(frozen=True)
class CostModel:
  """What an image costs, from what ran for it.

  constants: with a profile those of `device_constants`. macs: per block. image_bytes: that one
  offloaded image sends, or their mean. profile: measured times and energies, which replace the
  model's block by block; None for the model alone.
  """

  constants: CostConfig
  macs: BlockMacs
  image_bytes: Number
  profile: DeviceProfile | None = None

  def of(self, shares: Shares) -> ImageCost:
    """The cost of an image, for shares of images by what ran for them."""
    return ImageCost(
      macs_edge=self._macs(shares, main=True, extension=True),
      macs_cloud=shares.sent * self.macs.cloud,
      bytes_up=shares.sent * self.image_bytes,
      energy_mj=self.energy_mj(shares),
      latency_ms=self.latency_ms(shares),
      latency_p95_ms=self.latency_p95_ms(shares),
    )

  def energy_mj(self, shares: Shares) -> Number:
    """Mean millijoules per image that the edge spends."""
    constants = self.constants
    main, extension, upload, idle = (
      None if block is None else block.mean_mj for block in self._blocks()
    )
    computed = self._macs(shares, main=main is None, extension=extension is None)
    # pJ -> mJ is 1e-9; mW x ms -> mJ is 1e-3.
    energy = computed * constants.edge_pj_per_mac * 1e-9
    if upload is None:
      sending = upload_ms(constants, shares.sent * self.image_bytes)
      energy = energy + upload_power_mw(constants) * sending * 1e-3
    runs = (shares.main, shares.extension, shares.sent, shares.sent)
    # The model has nothing for waiting.
    for share, measured in zip(runs, (main, extension, upload, idle), strict=True):
      if measured is not None:
        energy = energy + share * measured
    return energy

  def latency_ms(self, shares: Shares) -> Number:
    """Mean milliseconds per image."""
    main, extension, upload, idle = self._blocks()
    latency = self._edge_ms(self._macs(shares, main=main is None, extension=extension is None))
    if main is not None:
      latency = latency + shares.main * main.mean_ms
    if extension is not None:
      latency = latency + shares.extension * extension.mean_ms
    if upload is not None and idle is not None:
      return latency + shares.sent * (upload.mean_ms + idle.mean_ms)
    return (
      latency
      + upload_ms(self.constants, shares.sent * self.image_bytes)
      + shares.sent * (self.constants.round_trip_ms + self._cloud_ms())
    )

  def latency_p95_ms(self, shares: Shares) -> Number:
    """The 0.95 quantile over images of the latency, in milliseconds.

    With the model alone each route takes one time, and this is the quantile of what images take.
    What a profile's blocks add to it is in `cost/latency.py`. A single image is taken to send as
    many bytes as the mean.
    """
    return mixture_quantile(*self._routes(shares))

  def late_share(self, shares: Shares, limit_ms: float) -> Number:
    """The share of images whose latency is above a limit.

    It is at most 0.05 where `latency_p95_ms` is at most the limit.
    """
    weights, times = self._routes(shares)
    late = [weight * np.mean(of > limit_ms) for weight, of in zip(weights, times, strict=True)]
    return np.clip(np.sum(np.broadcast_arrays(*late), axis=0), 0, 1)

  def _routes(self, shares: Shares) -> tuple[list[Number], list[np.ndarray]]:
    """The shares of images by route, and each route's times (`route_points`)."""
    main, extension, *sending = self._block_times()
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

  def _block_times(self) -> list[Timing]:
    """Times of main, extension, and of what an image that is sent adds (one or two)."""
    main, extension, upload, idle = self._blocks()

    def computing(num_macs: int) -> Timing:
      milliseconds = self._edge_ms(num_macs)
      return Timing(milliseconds, milliseconds)

    times = [main or computing(self.macs.main), extension or computing(self.macs.extension)]
    if upload is not None and idle is not None:
      return [*times, upload, idle]
    constants = self.constants
    sending = float(
      upload_ms(constants, self.image_bytes) + constants.round_trip_ms + self._cloud_ms()
    )
    return [*times, Timing(sending, sending)]

  def _blocks(self) -> list[Block | None]:
    return [None if self.profile is None else self.profile.block(name) for name in BLOCKS]

  def _macs(self, shares: Shares, *, main: bool, extension: bool) -> Number:
    """Mean MACs per image of the blocks that are asked for."""
    return shares.main * (self.macs.main if main else 0) + shares.extension * (
      self.macs.extension if extension else 0
    )

  def _edge_ms(self, macs: Number) -> Number:
    return macs / (self.constants.edge_gmacs_per_second * 1e9) * 1e3

  def _cloud_ms(self) -> float:
    return self.macs.cloud / (self.constants.cloud_gmacs_per_second * 1e9) * 1e3
