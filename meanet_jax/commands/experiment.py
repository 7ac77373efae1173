"""The flags of what a command works on: the experiment, and where its data are read."""

import argparse
from collections.abc import Sequence

from meanet_jax.commands.flags import ConfigField, Parser, add_integer, add_path, add_switch
from meanet_jax.config.grid import GridConfig
from meanet_jax.config.load import load_fields
from meanet_jax.config.parsing import field_type, resolve, resolve_grid
from meanet_jax.config.ranges import Range
from meanet_jax.config.schema import Config
from meanet_jax.config.values import parse
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.errors import UserError

OWN_IMAGES = "own_images"  # the installed configuration for images of one's own
FIELDS_HELP = (
  "--config.FIELD=VALUE sets a field of the configuration (--config.stages.edge.epochs=3); "
  "`meanet config NAME` prints every field with its meaning and what it accepts."
)


def add_config_flag(parser: Parser) -> None:
  """Adds `--config FILE_OR_NAME` and `--config.FIELD=VALUE`."""
  parser.add_argument(
    "--config",
    metavar="FILE_OR_NAME",
    help="a configuration file, or the name of an installed one, such as digits or "
    "own_images:medium; what follows a colon is its argument",
  )
  parser.takes_fields = True
  parser.epilog = FIELDS_HELP


def read_experiment(
  given: argparse.Namespace, data: str | None = None
) -> tuple[Config, GridConfig]:
  """The checked configuration that the flags name, and its grid.

  Args:
    given: the flags.
    data: own images that the experiment is of, by the configuration `own_images` where the flags
      name none; None for the configuration's.

  Raises:
    UserError: no configuration, one that fails, or a wrong field.
  """
  config, values = given.config, _values(given.fields)
  if data is not None:
    config, values = config or OWN_IMAGES, {"dataset.name": "folder", "dataset.path": data} | values
  if not config:
    raise UserError("flag --config is missing; accepted: the path or name of a configuration")
  fields = load_fields(config, values)
  return resolve(fields), resolve_grid(fields)


def read_config(given: argparse.Namespace) -> Config:
  """As `read_experiment`, without the grid."""
  return read_experiment(given)[0]


def add_read_flags(parser: Parser) -> None:
  """Adds `--data-dir`, `--workers` and `--decode-again`."""
  add_data_dir_flag(parser)
  add_integer(
    parser,
    "--workers",
    Range(0),
    default=ReadOptions().workers,
    help="processes that decode streamed images; 0: none beside this one",
  )
  add_switch(
    parser, "--decode-again", "read no pixels that are kept beside a data set, and keep none there"
  )


def add_data_dir_flag(parser: Parser) -> None:
  """Adds `--data-dir`."""
  add_path(
    parser,
    "--data-dir",
    metavar="DIR",
    help="where prepared data sets lie, or own images; TFDS's own default if not given",
  )


def read_options(given: argparse.Namespace) -> ReadOptions:
  """What `add_read_flags` added."""
  return ReadOptions(given.data_dir, given.workers, given.decode_again)


def _values(fields: Sequence[ConfigField]) -> dict[str, object]:
  texts: dict[str, list[str | None]] = {}
  for field in fields:
    texts.setdefault(field.path, []).append(field.text)
  return {path: parse(found, field_type(path), path) for path, found in texts.items()}
