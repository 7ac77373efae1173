"""A device's costs, measured on it or cited: what `device.json` holds.

Units are in the names: milliseconds, millijoules, bytes, megabits per second. Each of the four
blocks is what one image adds where it goes through that block:

- `main`: from the image to the main block's answer, rules included;
- `extension`: what adaptive and extension block add to that, rules included;
- `upload`: encoding an image that is sent, and making its message;
- `idle`: from there until the cloud's answer is there: the transfer, the cloud and the way back.

A block that was not measured is null, and the cost model is used for it with the constants of
`link` and `per_mac` (`device_constants`). Energies are above what the idle device draws.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from meanet_jax.config.schema import CostConfig
from meanet_jax.errors import UserError

FORMAT = 1
# Fields that device.json has where they are known; files without them keep their digest.
_WHERE_KNOWN = ("networks", "quantize")
_LINK_CONSTANTS = ("uplink_mbps", "round_trip_ms", "radio")
BLOCKS = ("main", "extension", "upload", "idle")


@dataclasses.dataclass(frozen=True)
class Timing:
  """Mean and 0.95 quantile over images, in milliseconds."""

  mean_ms: float
  p95_ms: float


@dataclasses.dataclass(frozen=True)
class Block(Timing):
  """One block's costs per image.

  mean_mj, p95_mj: millijoules above idle; None where the device cannot tell. macs: of the network
  that was measured (main and extension). bytes_per_image: sent (upload).
  """

  mean_mj: float | None = None
  p95_mj: float | None = None
  macs: int | None = None
  bytes_per_image: float | None = None

  def times(self, factor: float) -> "Block":
    """Of a network that costs so many times as much."""
    mean_mj, p95_mj = (None if mj is None else factor * mj for mj in (self.mean_mj, self.p95_mj))
    return dataclasses.replace(
      self,
      mean_ms=factor * self.mean_ms,
      p95_ms=factor * self.p95_ms,
      mean_mj=mean_mj,
      p95_mj=p95_mj,
    )


@dataclasses.dataclass(frozen=True)
class Link:
  """name: in words. uplink_mbps: Mbit/s. round_trip_ms: of a message that is nearly empty. radio:
  `wifi`, `lte` or `3g`, whose power model is used. None leaves the configuration's.
  """

  name: str
  uplink_mbps: float | None = None
  round_trip_ms: float | None = None
  radio: str | None = None


@dataclasses.dataclass(frozen=True)
class PerMac:
  """The cost model's constants of a device: picojoules per MAC, 10^9 MACs per second."""

  pj_per_mac: float
  gmacs_per_second: float


@dataclasses.dataclass(frozen=True)
class DeviceProfile:
  """The contents of device.json.

  source: how it was measured, or the citation. date: as YYYY-MM-DD. export: the SHA-256 of the
  edge.tflite that was measured, in hex; None for none. networks: the digest of its networks, as
  edge.json has it, whatever their operating point; None where none is named. quantize: the numbers
  that they were exported in; None where that is not said. idle_mw: what the idle device draws,
  which is in no block. parts: timings of what the blocks contain or leave out, by name, for people.
  """

  name: str
  source: str
  date: str
  main: Block | None
  extension: Block | None
  upload: Block | None
  idle: Block | None
  link: Link | None = None
  per_mac: PerMac | None = None
  export: str | None = None
  networks: str | None = None
  quantize: str | None = None
  idle_mw: float | None = None
  parts: Mapping[str, Timing] = dataclasses.field(default_factory=dict)

  def block(self, name: str) -> Block | None:
    """One of `BLOCKS`; None if it was not measured."""
    return {name: getattr(self, name) for name in BLOCKS}[name]

  def to_json(self) -> dict[str, Any]:
    """What device.json holds."""
    fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
    return {"format": FORMAT} | {
      name: _plain(value)
      for name, value in fields.items()
      if value is not None or name not in _WHERE_KNOWN
    }

  @property
  def digest(self) -> str:
    """SHA-256 of the contents, in hex, whatever the layout of the file."""
    text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def device_constants(cost: CostConfig, profile: DeviceProfile) -> CostConfig:
  """The cost model's constants on a device; what a user asks for goes on top of these.

  The profile's link and constants per MAC, and the bytes of the images that it sent; what it does
  not have stays.
  """
  changes: dict[str, Any] = {}
  if profile.per_mac is not None:
    changes["edge_pj_per_mac"] = profile.per_mac.pj_per_mac
    changes["edge_gmacs_per_second"] = profile.per_mac.gmacs_per_second
  if profile.link is not None:
    of_link = ((name, getattr(profile.link, name)) for name in _LINK_CONSTANTS)
    changes |= {name: value for name, value in of_link if value is not None}
  if profile.upload is not None and profile.upload.bytes_per_image is not None:
    changes["bytes_per_image"] = max(1, round(profile.upload.bytes_per_image))
  return dataclasses.replace(cost, **changes)


def modelled_blocks(profile: DeviceProfile | None) -> dict[str, tuple[str, ...]]:
  """The blocks for which the cost model is used, for `energy` and for `latency`."""
  blocks = {name: None if profile is None else profile.block(name) for name in BLOCKS}
  return {
    "energy": tuple(n for n, block in blocks.items() if block is None or block.mean_mj is None),
    "latency": tuple(name for name, block in blocks.items() if block is None),
  }


def cost_basis(profile: DeviceProfile | None) -> dict[str, str]:
  """Of `energy` and `latency`: `measured` where every block was, `estimated` otherwise."""
  return {
    name: "estimated" if blocks else "measured" for name, blocks in modelled_blocks(profile).items()
  }


def check_networks(profile: DeviceProfile, networks: str) -> None:
  """Refuses a profile that was measured on an export of other networks.

  Args:
    profile: of a device; one that names no networks goes with all.
    networks: the digest of those that it is used for, in hex.

  Raises:
    UserError: the digests differ.
  """
  if profile.networks not in (None, networks):
    raise UserError(
      f"device profile {profile.name} was measured on an export of other networks: their SHA-256 "
      f"is {profile.networks[:12]}..., expected {networks[:12]}...; measure an export of these "
      "with meanet measure"
    )


def check_export(profile: DeviceProfile, networks: str | None, quantize: str) -> None:
  """Refuses a profile that was measured on an export of other networks, or in other numbers.

  Args:
    profile: of a device; one that does not say which, or in which, goes with all.
    networks: the digest of those of the export that it is used for; None where it has none.
    quantize: of that export.

  Raises:
    UserError: they differ.
  """
  if networks is not None:
    check_networks(profile, networks)
  if profile.quantize not in (None, quantize):
    raise UserError(
      f"device profile {profile.name} was measured on an export with --quantize "
      f"{profile.quantize}, and this one has --quantize {quantize}; export with --quantize "
      f"{profile.quantize}, or measure such an export and evaluate with its profile"
    )


def other_export(profile: DeviceProfile, sha256: str) -> str | None:
  """What is to be said of a profile of another file that does not name its networks.

  Args:
    profile: of a device, as earlier versions wrote it.
    sha256: of the export's edge.tflite, in hex.
  """
  if profile.networks is not None or profile.export in (None, sha256):
    return None
  return (
    f"device profile {profile.name} was measured on another export: its SHA-256 is "
    f"{profile.export[:12]}..., expected {sha256[:12]}...; measure this one with meanet measure"
  )


def check_network(profile: DeviceProfile, main_macs: int, extension_macs: int) -> None:
  """Refuses a profile that was measured on another network, as its MACs show.

  Args:
    profile: of a device; a block without `macs` goes with all.
    main_macs, extension_macs: of the network that it is used for, per image.

  Raises:
    UserError: the MACs differ.
  """
  for name, expected in (("main", main_macs), ("extension", extension_macs)):
    block = profile.block(name)
    if block is not None and block.macs is not None and block.macs != expected:
      raise UserError(
        f"device profile {profile.name} was measured on another network: {name} has {block.macs} "
        f"MACs per image, expected {expected}; measure this one with meanet measure"
      )


def _plain(value: Any) -> Any:
  if isinstance(value, Mapping):
    return {name: _plain(item) for name, item in value.items()}
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    fields = dataclasses.asdict(value).items()
    # Of a block, macs and bytes are absent where they have no meaning.
    optional = ("macs", "bytes_per_image", "radio")
    return {name: item for name, item in fields if item is not None or name not in optional}
  return value
