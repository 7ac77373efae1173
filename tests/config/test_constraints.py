"""One list of constraints: the configuration, the flags and the selection have the same fields."""

import dataclasses

import pytest
from absl import flags

from meanet_jax.commands.constraint_flags import constraints_of, define_constraint_flags
from meanet_jax.config.constraints import Constraints, constraint_fields
from meanet_jax.config.parsing import check_field_name, default_config, resolve, to_json
from meanet_jax.errors import UserError


def test_the_configuration_has_every_constraint_with_its_range():
  for name, meaning, accepted in constraint_fields():
    assert meaning.endswith(".")
    check_field_name(f"evaluation.constraints.{name}")
    config = default_config()
    config.dataset.test_fraction = 0.4
    config.evaluation.calibration_fraction = 0.5  # which a confidence needs
    config.evaluation.constraints[name] = float(accepted.low)
    resolved = resolve(config)
    assert getattr(resolved.evaluation.constraints, name) == accepted.low
    assert resolve(to_json(resolved)) == resolved
    config.evaluation.constraints[name] = accepted.low - 0.1
    with pytest.raises(UserError, match=rf"'evaluation.constraints.{name}' is .*; accepted: "):
      resolve(config)


def test_every_constraint_has_a_flag_with_its_range():
  values = flags.FlagValues()
  define_constraint_flags(values)
  for name, meaning, accepted in constraint_fields():
    flag = values[name.replace("_", "-")]
    assert flag.help.startswith(meaning.rstrip("."))
    assert flag.value is None
    with pytest.raises(flags.IllegalFlagValueError):
      flag.parse(str(accepted.low - 0.1))


def test_a_confidence_joins_the_configured_constraints_and_others_replace_them():
  config = resolve(default_config())
  configured = config.evaluation.constraints
  assert constraints_of(config, {}) == configured == Constraints(max_offload=0.2)
  sure = dataclasses.replace(configured, confidence=0.9)
  assert constraints_of(config, {"confidence": 0.9}) == sure
  given = {"offload_penalty": 0.1, "confidence": 0.9}
  assert constraints_of(config, given) == Constraints(**given)
