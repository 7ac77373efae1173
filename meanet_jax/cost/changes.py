"""Costs that differ from a run's, for an evaluation, an export or a stream alone."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from meanet_jax.config.schema import CostConfig
from meanet_jax.config.values import checked
from meanet_jax.cost.device import DeviceProfile, device_constants, modelled_blocks
from meanet_jax.errors import UserError, nearest

# The figures, and the blocks without a measurement, for which the cost model reads a constant
# (`CostModel`). Where it is not named, it is always read.
_READ_FOR = {
  "edge_pj_per_mac": {"energy": ("main", "extension")},
  "edge_gmacs_per_second": {"latency": ("main", "extension")},
  "cloud_gmacs_per_second": {"latency": ("upload", "idle")},
  "radio": {"energy": ("upload",)},
  "uplink_mbps": {"energy": ("upload",), "latency": ("upload", "idle")},
  "round_trip_ms": {"latency": ("upload", "idle")},
}


@dataclasses.dataclass(frozen=True)
class CostChanges:
  """What replaces the costs of a run.

  profile: of the device; None for the cost model alone. constants: of the cost model by the field's
  name in `CostConfig`, in place of the run's and of the profile's.
  """

  profile: DeviceProfile | None = None
  constants: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def of(self, cost: CostConfig) -> CostConfig:
    """The constants in place of a run's.

    Raises:
      UserError: a constant that does not exist, of a wrong type or out of range.
    """
    if self.profile is not None:
      cost = device_constants(cost, self.profile)
    return changed_cost(cost, self.constants)


def unread_warning(
  constants: Mapping[str, Any], cost: CostConfig, profile: DeviceProfile | None
) -> str | None:
  """A line about changed constants that no figure reads, as a device was measured; None for none.

  Args:
    constants: that `changed_cost` accepts.
    cost: what they change.
    profile: of the device.
  """
  if profile is None:
    return None
  modelled = modelled_blocks(profile)

  def is_read(name: str) -> bool:
    readers = _READ_FOR.get(name)
    return readers is None or any(set(modelled[of]) & set(readers[of]) for of in readers)

  changed = [name for name, value in constants.items() if value != getattr(cost, name)]
  unread = [f"cost.{name}" for name in changed if not is_read(name)]
  if not unread:
    return None
  return (
    f"{' and '.join(unread)} changes no figure: device profile {profile.name} was measured in its "
    "place"
  )


def changed_cost(cost: CostConfig, constants: Mapping[str, Any]) -> CostConfig:
  """The constants with some of them replaced.

  Args:
    cost: those of a run or an export.
    constants: values by the field's name in `CostConfig`.

  Raises:
    UserError: a constant that does not exist, of a wrong type or out of range.
  """
  kinds = {field.name: field.type for field in dataclasses.fields(CostConfig)}
  for name in constants:
    if name not in kinds:
      raise UserError(f"cost {name!r} does not exist; {nearest(name, kinds)}")
  values = {name: checked(value, kinds[name], name, "cost") for name, value in constants.items()}
  return dataclasses.replace(cost, **values)
