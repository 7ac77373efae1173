"""What TFDS's sets are called, by the versions that the installed one knows, and where they lie."""

import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow_datasets as tfds

from meanet_jax.errors import UserError
from meanet_jax.paths import expanded_path


class SetName(NamedTuple):
  """The parts of `NAME[/CONFIG][:VERSION]`, TFDS's way of naming a set."""

  name: str
  config: str | None
  version: str | None

  def __str__(self) -> str:
    config = f"/{self.config}" if self.config else ""
    return f"{self.name}{config}" + (f":{self.version}" if self.version else "")


def parse_name(text: str) -> SetName:
  """The parts of `NAME[/CONFIG][:VERSION]`.

  Raises:
    UserError: a text of another form.
  """
  match = re.fullmatch(r"(\w+)(?:/([\w.-]+))?(?::(\d+\.\d+\.\d+))?", text)
  if match is None:
    raise UserError(
      f"dataset.name is {text!r}; accepted: digits, folder, or NAME[/CONFIG][:VERSION]"
    )
  return SetName(*match.groups())


def default_data_dir() -> str:
  """Where TFDS keeps prepared sets by default.

  Raises:
    UserError: `TFDS_DATA_DIR` is an address, or no home directory is known.
  """
  variable = "environment variable TFDS_DATA_DIR"
  name = variable if os.environ.get("TFDS_DATA_DIR") else "TFDS's default for --data-dir"
  return expanded_path(str(tfds.core.constants.DATA_DIR), name)


def data_root(data_dir: str | None) -> Path:
  """The directory in which prepared sets are looked for.

  Raises:
    UserError: see `default_data_dir`.
  """
  return Path(data_dir or default_data_dir()).absolute()


def stock_builder(name: SetName) -> Any:
  """The class that the installed TFDS prepares a set with, or None if it has none."""
  try:
    return tfds.builder_cls(name.name)
  except tfds.core.DatasetNotFoundError:
    return None


def with_stock_parts(name: SetName) -> SetName:
  """The name with TFDS's default configuration and version where it has none of its own.

  Raises:
    UserError: a configuration that the set does not have.
  """
  stock = stock_builder(name)
  if stock is None:
    return name
  configs = {config.name: config for config in stock.BUILDER_CONFIGS}
  if name.config is not None and name.config not in configs:
    raise UserError(
      f"dataset.name {name} names no configuration of {name.name}; "
      f"accepted: {', '.join(configs) or 'no configuration'}"
    )
  default = stock.DEFAULT_BUILDER_CONFIG_NAME or next(iter(configs), None)
  chosen = name.config or default
  version = (configs[chosen].version if chosen else None) or stock.VERSION
  return SetName(name.name, chosen, name.version or str(version))


def set_path(name: SetName, data_dir: str | Path) -> Path:
  """The directory of a set, whose version is known, under `data_dir`."""
  assert name.version is not None
  return Path(data_dir, name.name, name.config or "", name.version)
