"""One list of constraints: the configuration, the flags and the selection have the same fields."""

import dataclasses
from typing import get_args

import pytest

from meanet_jax.commands.constraint_flags import (
  add_constraint_flags,
  constraints_of,
  given_constraints,
)
from meanet_jax.commands.flags import Parser
from meanet_jax.config.constraints import Constraints
from meanet_jax.config.parsing import default_config, field_type, resolve, to_json
from meanet_jax.errors import UserError

LOWEST = {
  field.name: get_args(get_args(field.type)[0])[1].low
  for field in dataclasses.fields(Constraints)
  if field.type is not bool
}


@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("max_offload", 20.0),
    ("max_offload", float("nan")),
    ("max_bytes", float("inf")),
    ("min_accuracy", 95.0),
    ("confidence", 1.0),
  ],
)
def test_what_a_program_asks_has_the_same_ranges(field, value):
  with pytest.raises(UserError, match=rf"^constraint '{field}' is {value!r}; accepted: "):
    Constraints(**{field: value})


@pytest.mark.parametrize("name", LOWEST)
def test_the_configuration_has_every_constraint_with_its_range(name):
  low = LOWEST[name]
  field_type(f"evaluation.constraints.{name}")
  config = default_config()
  config.dataset.test_fraction = 0.4
  config.evaluation.calibration_fraction = 0.5  # which a confidence needs
  config.evaluation.constraints[name] = float(low)
  resolved = resolve(config)
  assert getattr(resolved.evaluation.constraints, name) == low
  assert resolve(to_json(resolved)) == resolved
  config.evaluation.constraints[name] = low - 0.1
  with pytest.raises(UserError, match=rf"'evaluation.constraints.{name}' is .*; accepted: "):
    resolve(config)


@pytest.mark.parametrize("name", LOWEST)
def test_every_constraint_has_a_flag_with_its_range(name):
  parser = Parser("eval", None)
  add_constraint_flags(parser)
  assert given_constraints(parser.parse([])) == {}
  flag, low = f"--{name.replace('_', '-')}", LOWEST[name]
  assert given_constraints(parser.parse([f"{flag}={low}"])) == {name: low}
  with pytest.raises(UserError, match=f"flag {flag} is .*; accepted: "):
    parser.parse([f"{flag}={low - 0.1}"])


def test_a_confidence_joins_the_configured_constraints_and_others_replace_them():
  config = resolve(default_config())
  configured = config.evaluation.constraints
  assert constraints_of(config, {}) == configured == Constraints(max_offload=0.2)
  sure = dataclasses.replace(configured, confidence=0.9)
  assert constraints_of(config, {"confidence": 0.9}) == sure
  given = {"offload_penalty": 0.1, "confidence": 0.9}
  assert constraints_of(config, given) == Constraints(**given)


def test_how_the_budget_is_used_joins_the_configured_constraints():
  parser = Parser("eval", None)
  add_constraint_flags(parser)
  assert given_constraints(parser.parse(["--spend-budget"])) == {"spend_budget": True}
  assert given_constraints(parser.parse(["--spend-budget", "--no-spend-budget"])) == {
    "spend_budget": False
  }
  config = resolve(default_config())
  spending = dataclasses.replace(
    config,
    evaluation=dataclasses.replace(
      config.evaluation, constraints=Constraints(max_offload=0.2, spend_budget=True)
    ),
  )
  assert constraints_of(spending, {"spend_budget": False}) == Constraints(max_offload=0.2)
  found = constraints_of(config, {"spend_budget": True})
  assert found == Constraints(max_offload=0.2, spend_budget=True)
  assert str(found) == "max_offload 0.2, spend_budget"
  with pytest.raises(UserError, match="spend_budget was asked without a budget to spend"):
    constraints_of(config, {"min_class_recall": 0.5, "spend_budget": True})
  config = default_config()
  config.evaluation.constraints.offload_penalty = 0.1
  config.evaluation.constraints.spend_budget = True
  with pytest.raises(
    UserError, match="spend_budget asks for the most offloads and offload_penalty"
  ):
    resolve(config)
