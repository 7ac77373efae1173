"""A configuration by its file or by the name of one that is installed, with some fields changed."""

import dataclasses
import inspect
import os
import runpy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from meanet_jax.config.parsing import field_type, resolve
from meanet_jax.config.schema import Config
from meanet_jax.errors import UserError, nearest
from meanet_jax.paths import expanded_path

_PACKAGE = Path(__file__).parent.parent


def load_config(source: str | os.PathLike[str], changes: Mapping[str, Any] | None = None) -> Config:
  """The checked configuration of one experiment.

  Args:
    source: a configuration file, whose `get_config()` returns a ConfigDict, or the name of an
      installed one (`digits`). What follows a colon (`own_images:medium`) is its argument.
    changes: values by dotted field name (`{"stages.edge.epochs": 3}`), in place of the file's.

  Raises:
    UserError: there is no such file or name, the file fails, or a field that is unknown, of a wrong
      type or out of range.
  """
  return resolve(load_fields(source, changes or {}))


def load_fields(source: str | os.PathLike[str], changes: Mapping[str, Any]) -> dict[str, Any]:
  """As `load_config`, but the unchecked fields as nested dicts, those of a grid among them."""
  text, argument = _parts(source)
  fields = _run(find(text), argument).to_dict()
  for path, value in changes.items():
    if dataclasses.is_dataclass(field_type(path)):
      raise UserError(f"configuration field {path!r} is a group of fields; accepted: one of them")
    group = fields
    *groups, name = path.split(".")
    for part in groups:
      group = group.setdefault(part, {})  # a group that a file of its own making leaves out
    group[name] = value
  return fields


def installed() -> dict[str, Path]:
  """The configurations that come with the package: files by name."""
  inside = _PACKAGE / "configs"
  # In a checkout they lie beside the package, where `--config configs/digits.py` finds them.
  folder = inside if inside.is_dir() else _PACKAGE.parent / "configs"
  return {path.stem: path for path in sorted(folder.glob("*.py")) if path.stem != "__init__"}


def find(source: str | os.PathLike[str]) -> Path:
  """The file of a configuration.

  Raises:
    UserError: there is none.
  """
  text = expanded_path(os.fspath(source), "flag --config")
  if Path(text).is_file():
    return Path(text)
  if os.sep in text or text.endswith(".py"):
    raise UserError(f"flag --config: no file {text!r}; accepted: a configuration file's path")
  names = installed()
  if text not in names:
    raise UserError(
      f"flag --config: no configuration {text!r}; {nearest(text, names)}, or a file's path"
    )
  return names[text]


def _parts(source: str | os.PathLike[str]) -> tuple[str, str | None]:
  """A file or name, and the argument behind a colon; a file's name may have colons in it."""
  text = os.fspath(source)
  name, colon, argument = text.rpartition(":")
  if not colon or os.path.isfile(text) or os.sep in argument:
    return text, None
  return name, argument


def _run(path: Path, argument: str | None) -> ConfigDict:
  try:
    get_config = runpy.run_path(str(path)).get("get_config")
    made = _call(get_config, argument, path) if callable(get_config) else None
  except UserError:
    raise
  except Exception as error:
    text = " ".join(str(error).split())
    raise UserError(f"configuration file {path}: {type(error).__name__}: {text}") from error
  if get_config is None:
    raise UserError(f"configuration file {path} has no function get_config; accepted: one")
  if not isinstance(made, ConfigDict):
    raise UserError(
      f"configuration file {path}: get_config() returned {made!r}; accepted: a ConfigDict"
    )
  return made


def _call(get_config: Callable[..., Any], argument: str | None, path: Path) -> Any:
  if argument is None:
    return get_config()
  if not inspect.signature(get_config).parameters:
    raise UserError(
      f"flag --config: {argument!r} follows a colon, and configuration {path} takes no argument; "
      "accepted: its path or name alone"
    )
  return get_config(argument)
