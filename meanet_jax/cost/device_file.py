"""Reading device.json, and the profiles that are installed with the package."""

import dataclasses
import datetime
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from meanet_jax.cost.device import BLOCKS, FORMAT, Block, DeviceProfile, Link, PerMac, Timing
from meanet_jax.cost.energy import RADIOS
from meanet_jax.errors import UserError, hint
from meanet_jax.paths import expanded_path

_SHIPPED = Path(__file__).parent / "profiles"
_ACCEPTED = "accepted: what meanet measure wrote, or a file as docs/device_profiles.md has it"
# P(X >= p95) >= 0.05, so Markov's inequality bounds it for times that are not negative.
_LARGEST_RATIO = 20.0
# An integer of JSON may be beyond the floats.
_LARGEST_NUMBER = 1e300
_BLOCK = ("mean_ms", "p95_ms", "mean_mj", "p95_mj")
_EXTRA = {"main": ("macs",), "extension": ("macs",), "upload": ("bytes_per_image",), "idle": ()}


def shipped_profiles() -> list[str]:
  """The names of the installed profiles, sorted."""
  return sorted(path.stem for path in _SHIPPED.glob("*.json"))


def read_profile(device: str | Path) -> DeviceProfile:
  """The profile of a file, or an installed one by its name.

  Args:
    device: a path, or one of `shipped_profiles`; `./NAME` is a file of that name.

  Raises:
    UserError: there is no such file, or it is no profile.
  """
  names = shipped_profiles()
  installed = str(device) in names
  path = _SHIPPED / f"{device}.json" if installed else Path(expanded_path(str(device), "device"))
  try:
    source = json.loads(path.read_text(encoding="utf-8"))
  except OSError as error:
    raise UserError(
      f"device profile {device} cannot be read: {error.strerror}; {hint(str(device), names)}"
      f"accepted: a device.json, or one of {', '.join(names)}"
    ) from error
  except (ValueError, RecursionError) as error:
    raise UserError(f"device profile {device} is no JSON: {error}; {_ACCEPTED}") from error
  try:
    return parse_profile(source)
  except _FaultError as fault:
    raise UserError(f"device profile {device}: {fault}") from None


class _FaultError(ValueError):
  """What is wrong, and what is expected."""


def parse_profile(source: Any) -> DeviceProfile:
  """The profile that a JSON value holds.

  Raises:
    ValueError: it is none; the message says what is wrong and what is expected.
  """
  if not isinstance(source, Mapping) or source.get("format") != FORMAT:
    found = source.get("format") if isinstance(source, Mapping) else source
    raise _FaultError(f"format is {found!r}; expected {FORMAT}; {_ACCEPTED}")
  fields = [field.name for field in dataclasses.fields(DeviceProfile)]
  _check_keys(source, "", ("format", *fields))
  for name in ("name", "source", "date", *BLOCKS):
    if name not in source:
      what = "block" if name in BLOCKS else "field"
      unmeasured = " (null where it was not measured)" if name in BLOCKS else ""
      raise _FaultError(f"{what} {name} is missing; expected {', '.join(BLOCKS)}{unmeasured}")
  blocks = {name: _block(source[name], name) for name in BLOCKS}
  if (blocks["upload"] is None) != (blocks["idle"] is None):
    raise _FaultError("upload and idle belong together; expected both measured, or both null")
  parts = _mapping(source.get("parts") or {}, "parts")
  return DeviceProfile(
    name=_text(source["name"], "name"),
    source=_text(source["source"], "source"),
    date=_date(source["date"]),
    **blocks,
    link=_link(source.get("link")),
    per_mac=_per_mac(source.get("per_mac")),
    export=_digest(source.get("export"), "export", "an edge.tflite"),
    networks=_digest(source.get("networks"), "networks", "an export's networks"),
    quantize=None if source.get("quantize") is None else _text(source["quantize"], "quantize"),
    idle_mw=_optional(source, "idle_mw", ""),
    parts={name: _timing(value, f"parts.{name}") for name, value in parts.items()},
  )


def _block(source: Any, name: str) -> Block | None:
  if source is None:
    return None
  source = _mapping(source, name)
  _check_keys(source, f"{name}.", (*_BLOCK, *_EXTRA[name]))
  timing = _times(source, name)
  macs = source.get("macs")
  if macs is not None and (isinstance(macs, bool) or not isinstance(macs, int) or macs < 0):
    raise _FaultError(f"{name}.macs is {macs!r}; expected a whole number, at least 0")
  sent = _number(source, "bytes_per_image", f"{name}.") if name == "upload" else None
  mean_mj, p95_mj = (_optional(source, key, f"{name}.") for key in ("mean_mj", "p95_mj"))
  if mean_mj is None and p95_mj is not None:
    raise _FaultError(f"{name}.p95_mj without {name}.mean_mj; expected both, or the mean alone")
  return Block(timing.mean_ms, timing.p95_ms, mean_mj, p95_mj, macs, sent)


def _timing(source: Any, name: str) -> Timing:
  source = _mapping(source, name)
  _check_keys(source, f"{name}.", _BLOCK[:2])
  return _times(source, name)


def _times(source: Mapping[str, Any], name: str) -> Timing:
  mean, p95 = (_number(source, key, f"{name}.") for key in ("mean_ms", "p95_ms"))
  if p95 > _LARGEST_RATIO * mean:
    raise _FaultError(
      f"{name}.p95_ms is {p95:g} at a mean_ms of {mean:g}; expected at most "
      f"{_LARGEST_RATIO:g} times the mean, for no times that are not negative have more"
    )
  return Timing(mean, p95)


def _link(source: Any) -> Link | None:
  if source is None:
    return None
  source = _mapping(source, "link")
  _check_keys(source, "link.", tuple(field.name for field in dataclasses.fields(Link)))
  radio = source.get("radio")
  if radio is not None and radio not in RADIOS:
    raise _FaultError(f"link.radio is {radio!r}; expected one of {', '.join(RADIOS)}, or null")
  return Link(
    _text(source.get("name"), "link.name"),
    None if source.get("uplink_mbps") is None else _positive(source, "uplink_mbps", "link."),
    _optional(source, "round_trip_ms", "link."),
    radio,
  )


def _per_mac(source: Any) -> PerMac | None:
  if source is None:
    return None
  source = _mapping(source, "per_mac")
  _check_keys(source, "per_mac.", tuple(field.name for field in dataclasses.fields(PerMac)))
  pj = _number(source, "pj_per_mac", "per_mac.")
  return PerMac(pj, _positive(source, "gmacs_per_second", "per_mac."))


def _mapping(source: Any, name: str) -> Mapping[str, Any]:
  if not isinstance(source, Mapping):
    raise _FaultError(f"{name} is {source!r}; expected an object of fields")
  return source


def _check_keys(source: Mapping[str, Any], prefix: str, accepted: Sequence[str]) -> None:
  for key in source:
    if key not in accepted:
      quantity = re.fullmatch(r"(mean|p95)_\w+", key)
      units = "times are in ms and energies in mJ; " if quantity and "mean_ms" in accepted else ""
      raise _FaultError(
        f"unknown field {prefix}{key}; {units}{hint(key, accepted)}expected {', '.join(accepted)}"
      )


def _number(source: Mapping[str, Any], key: str, prefix: str) -> float:
  value = source.get(key)
  if (
    not isinstance(value, int | float)
    or isinstance(value, bool)
    or not 0 <= value < _LARGEST_NUMBER  # which is False of NaN
  ):
    found = repr(value)[:60] if key in source else "missing"
    raise _FaultError(f"{prefix}{key} is {found}; expected a finite number, at least 0")
  return float(value)


def _optional(source: Mapping[str, Any], key: str, prefix: str) -> float | None:
  return None if source.get(key) is None else _number(source, key, prefix)


def _positive(source: Mapping[str, Any], key: str, prefix: str) -> float:
  value = _number(source, key, prefix)
  if value == 0:
    raise _FaultError(f"{prefix}{key} is 0; expected more than 0")
  return value


def _text(value: Any, name: str) -> str:
  if not isinstance(value, str) or not value.strip() or len(value.splitlines()) > 1:
    raise _FaultError(f"{name} is {value!r}; expected a line of text")
  return value


def _date(value: Any) -> str:
  try:
    return datetime.date.fromisoformat(value).isoformat()
  except (TypeError, ValueError):
    raise _FaultError(f"date is {value!r}; expected YYYY-MM-DD") from None


def _digest(value: Any, name: str, of: str) -> str | None:
  if value is None:
    return None
  if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
    raise _FaultError(f"{name} is {value!r}; expected the SHA-256 of {of} in hex, or null")
  return value
