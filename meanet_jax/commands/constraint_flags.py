"""Flags of the constraints under which an operating point is selected."""

import argparse
import dataclasses
from typing import get_args

from meanet_jax.commands.flags import Parser, add_number
from meanet_jax.config.constraints import Constraints
from meanet_jax.config.documentation import documented
from meanet_jax.config.schema import Config


def add_constraint_flags(parser: Parser) -> None:
  """Adds a flag for each field of `Constraints`."""
  group = parser.add_argument_group(
    "constraints",
    "under which thresholds are selected on validation, in place of the configuration's",
  )
  meanings = {field.path: field.meaning for field in documented(Constraints())}
  for field in dataclasses.fields(Constraints):
    number, _ = get_args(field.type)  # and None
    _, bounds = get_args(number)
    add_number(group, f"--{field.name.replace('_', '-')}", bounds, help=meanings[field.name])


def given_constraints(given: argparse.Namespace) -> dict[str, float]:
  """The values of those flags that were given, by field."""
  values = {field.name: getattr(given, field.name) for field in dataclasses.fields(Constraints)}
  return {name: value for name, value in values.items() if value is not None}


def constraints_of(config: Config, given: dict[str, float]) -> Constraints:
  """The constraints that flags state; a confidence alone joins those of the configuration."""
  if set(given) <= {"confidence"}:
    return dataclasses.replace(config.evaluation.constraints, **given)
  return Constraints(**given)
