"""Flags of the cost model's constants, in place of a run's or an export's."""

import argparse
import dataclasses
from typing import Annotated, Any, Literal, get_args, get_origin

from meanet_jax.commands.flags import Parser, add_choice, add_integer, add_number, literal_help
from meanet_jax.config.documentation import documented
from meanet_jax.config.schema import CostConfig


def add_cost_flags(parser: Parser, replaced: str) -> None:
  """Adds a flag `--cost.FIELD` for each field of `CostConfig`.

  Args:
    parser: of the command.
    replaced: whose constants these flags replace, for `--help`.
  """
  group = parser.add_argument_group("cost model", f"constants in place of {replaced}")
  meanings = {field.path: literal_help(field.meaning) for field in documented(CostConfig())}
  for field in dataclasses.fields(CostConfig):
    name, kind = f"--cost.{field.name.replace('_', '-')}", get_args(field.type)
    settings = {"dest": _dest(field.name), "help": meanings[field.name]}
    if get_origin(field.type) is Literal:
      add_choice(group, name, kind, **settings)
    else:
      assert get_origin(field.type) is Annotated
      (add_integer if kind[0] is int else add_number)(group, name, kind[1], **settings)


def cost_changes(given: argparse.Namespace) -> dict[str, Any]:
  """The values of those flags that were given, by field."""
  fields = (field.name for field in dataclasses.fields(CostConfig))
  values = {name: getattr(given, _dest(name)) for name in fields}
  return {name: value for name, value in values.items() if value is not None}


def _dest(field: str) -> str:
  return f"cost_{field}"
