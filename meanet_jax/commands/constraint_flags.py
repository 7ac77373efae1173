"""Flags of the constraints under which an operating point is selected."""

import argparse
import dataclasses
from typing import Any, get_args

from meanet_jax.commands.flags import Parser, add_number, add_switch, literal_help
from meanet_jax.config.constraints import Constraints, check_constraints
from meanet_jax.config.documentation import documented
from meanet_jax.config.schema import Config
from meanet_jax.errors import UnmetConstraintsError

UNMET_STATUS = UnmetConstraintsError.status  # of a command whose constraints nothing keeps


def add_constraint_flags(parser: Parser) -> None:
  """Adds a flag for each field of `Constraints`."""
  group = parser.add_argument_group(
    "constraints",
    "under which thresholds are selected on validation, in place of the configuration's",
  )
  meanings = {field.path: literal_help(field.meaning) for field in documented(Constraints())}
  for field in dataclasses.fields(Constraints):
    name, meaning = f"--{field.name.replace('_', '-')}", meanings[field.name]
    if field.type is bool:
      add_switch(group, name, meaning)
      parser.set_defaults(**{field.name: None})  # off by the flag is another thing than not given
      continue
    number, _ = get_args(field.type)  # and None
    _, bounds = get_args(number)
    add_number(group, name, bounds, help=meaning)


def given_constraints(given: argparse.Namespace) -> dict[str, Any]:
  """The values of those flags that were given, by field."""
  values = {field.name: getattr(given, field.name) for field in dataclasses.fields(Constraints)}
  return {name: value for name, value in values.items() if value is not None}


def constraints_of(config: Config, given: dict[str, Any]) -> Constraints:
  """The constraints that flags state.

  A confidence, and how the budget is used, limit nothing by themselves: alone they join the
  constraints of the configuration.

  Raises:
    UserError: they contradict each other.
  """
  if set(given) <= {"confidence", "spend_budget"}:
    constraints = dataclasses.replace(config.evaluation.constraints, **given)
  else:
    constraints = Constraints(**given)
  check_constraints(constraints)
  return constraints
