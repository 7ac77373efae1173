"""Prints every field of a configuration: its value, what it accepts, and what it means.

meanet config digits [--config.stages.edge.epochs=3]; without a name, the installed ones.
"""

import argparse
import dataclasses
import textwrap

from meanet_jax.commands.experiment import read_experiment
from meanet_jax.commands.flags import Parser
from meanet_jax.config.documentation import Field, documented
from meanet_jax.config.grid import Experiment
from meanet_jax.config.load import installed
from meanet_jax.errors import UserError


def add_flags(parser: Parser) -> None:
  """Adds the flags of this command."""
  parser.add_argument(
    "config",
    metavar="FILE_OR_NAME",
    nargs="?",
    help="a configuration file, or the name of an installed one, such as digits",
  )
  parser.takes_fields = True


def run(given: argparse.Namespace) -> None:
  """Prints."""
  if given.config is None and given.fields:
    raise UserError(
      f"--config.{given.fields[0].path} without a configuration; accepted: its file or name first, "
      "as in meanet config digits"
    )
  if given.config is None:
    print(*installed(), sep="\n")
    return
  config, grid = read_experiment(given)
  groups = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
  for field in documented(Experiment(**groups, grid=grid)):
    print(describe(field))


def describe(field: Field) -> str:
  """A field as lines: name and value, what is accepted, and the meaning indented below."""
  value = field.value if isinstance(field.value, str) else repr(field.value)
  head = f"{field.path} = {value or repr('')}"
  text = textwrap.fill(
    f"{field.meaning} Accepted: {field.accepted}.",
    width=100,
    initial_indent="    ",
    subsequent_indent="    ",
    break_long_words=False,
    break_on_hyphens=False,
  )
  return f"{head}\n{text}"
