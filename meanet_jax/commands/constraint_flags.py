"""Flags of the constraints under which an operating point is selected."""

import dataclasses
from collections.abc import Callable

from absl import flags

from meanet_jax.config.constraints import Constraints, constraint_fields
from meanet_jax.config.schema import Config


def define_constraint_flags(
  registry: flags.FlagValues = flags.FLAGS,
) -> Callable[[], dict[str, float]]:
  """A flag for each field of `Constraints`; the result gives the values of those that are set."""
  holders = {
    name: flags.DEFINE_float(
      name.replace("_", "-"),
      None,
      meaning,
      lower_bound=range.low,
      upper_bound=None if range.high == float("inf") else range.high,
      flag_values=registry,
    )
    for name, meaning, range in constraint_fields()
  }
  return lambda: {name: flag.value for name, flag in holders.items() if flag.value is not None}


def constraints_of(config: Config, given: dict[str, float]) -> Constraints:
  """The constraints that flags state; a confidence alone joins those of the configuration."""
  if set(given) <= {"confidence"}:
    return dataclasses.replace(config.evaluation.constraints, **given)
  return Constraints(**given)
