"""Between the outer forms of a configuration (ConfigDict, JSON) and its dataclasses."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from meanet_jax.config.checks import validate
from meanet_jax.config.grid import Experiment, GridConfig
from meanet_jax.config.schema import Config
from meanet_jax.config.values import checked
from meanet_jax.errors import UserError, nearest


def default_config() -> ConfigDict:
  """A locked ConfigDict with every field at its default, for configuration files to fill.

  It takes values of any type, because a field may take several; `resolve` checks them.
  """
  return ConfigDict(dataclasses.asdict(Experiment()), type_safe=False).lock()


def resolve(source: ConfigDict | Mapping[str, Any]) -> Config:
  """The checked configuration in a ConfigDict (or in the dict of a config.json), but for its grid.

  Raises:
    UserError: a field that is unknown, missing, of a wrong type or out of range.
  """
  fields = source.to_dict() if isinstance(source, ConfigDict) else source
  config = _build(Config, {name: fields[name] for name in fields if name != "grid"}, "")
  validate(config)
  return config


def resolve_grid(source: ConfigDict | Mapping[str, Any]) -> GridConfig:
  """The checked `grid` group of a ConfigDict or of such a dict.

  Raises:
    UserError: as `resolve`.
  """
  fields = source.to_dict() if isinstance(source, ConfigDict) else source
  return _build(GridConfig, fields.get("grid", dataclasses.asdict(GridConfig())), "grid.")


def to_json(config: Config) -> dict[str, Any]:
  """The configuration as nested dicts and lists, as config.json holds it."""
  return _tuples_to_lists(dataclasses.asdict(config))


def differences(old: Config, new: Config) -> list[str]:
  """Dotted names of the fields that differ, each with both values."""
  return list(changes(old, new).values())


def changes(old: Config, new: Config) -> dict[str, str]:
  """The fields that differ: name and both values as text, by dotted name."""
  before, after = _flatten(to_json(old)), _flatten(to_json(new))
  return {
    name: f"{name} ({before[name]!r} -> {after[name]!r})"
    for name in before
    if before[name] != after[name]
  }


def field_type(path: str) -> Any:
  """The declared type of the field with this dotted name; of a group its dataclass.

  Raises:
    UserError: no configuration has it; with the names that stand where the wrong part is.
  """
  cls: Any = Experiment
  parts = path.split(".")
  for depth, part in enumerate(parts):
    fields = (
      {f.name: f.type for f in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else {}
    )
    if part not in fields:
      options = nearest(part, fields) if fields else "accepted: no field below this one"
      found = ".".join(parts[: depth + 1])
      raise UserError(f"configuration field {found!r} does not exist; {options}")
    cls = fields[part]
  return cls


def _build(cls: type, source: Any, path: str) -> Any:
  if not isinstance(source, Mapping):
    raise UserError(f"configuration field {path!r} is {source!r}; accepted: a group of fields")
  fields = {field.name: field for field in dataclasses.fields(cls)}
  for name in source:
    if name not in fields:
      raise UserError(
        f"configuration field {path + str(name)!r} does not exist; {nearest(str(name), fields)}"
      )
  missing = [path + name for name in fields if name not in source]
  if missing:
    raise UserError(f"configuration field {missing[0]!r} is missing; start from default_config()")
  values = {}
  for name, field in fields.items():
    if dataclasses.is_dataclass(field.type):
      values[name] = _build(typing.cast(type, field.type), source[name], f"{path}{name}.")
    else:
      values[name] = checked(source[name], field.type, path + name)
  return cls(**values)


def _tuples_to_lists(value: Any) -> Any:
  if isinstance(value, dict):
    return {name: _tuples_to_lists(item) for name, item in value.items()}
  return list(value) if isinstance(value, tuple) else value


def _flatten(value: dict[str, Any], path: str = "") -> dict[str, Any]:
  flat: dict[str, Any] = {}
  for name, item in value.items():
    flat |= _flatten(item, f"{path}{name}.") if isinstance(item, dict) else {path + name: item}
  return flat
