"""A device profile as summary.json and edge.json hold it: name, digest and values."""

from typing import Any

from meanet_jax.cost.device import DeviceProfile
from meanet_jax.cost.device_file import parse_profile


def named_profile(profile: DeviceProfile | None) -> dict[str, Any] | None:
  """The JSON value of a profile; None for None."""
  if profile is None:
    return None
  return {"name": profile.name, "digest": profile.digest, "values": profile.to_json()}


def parse_named_profile(source: Any) -> DeviceProfile | None:
  """The profile of such a JSON value.

  Raises:
    KeyError, TypeError, ValueError: it holds something else.
  """
  if source is None:
    return None
  found = parse_profile(source["values"])
  if (source["name"], source["digest"]) != (found.name, found.digest):
    raise ValueError(f"profile {source['name']!r} has the name or digest of other values")
  return found
