"""Constants of the cost model that differ from a run's, for an evaluation or an export alone."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from meanet_jax.config.schema import CostConfig
from meanet_jax.config.values import checked
from meanet_jax.errors import UserError, nearest


def changed_cost(cost: CostConfig, changes: Mapping[str, Any]) -> CostConfig:
  """The constants with some of them replaced.

  Args:
    cost: those of a run or an export.
    changes: values by the field's name in `CostConfig`.

  Raises:
    UserError: a constant that does not exist, of a wrong type or out of range.
  """
  kinds = {field.name: field.type for field in dataclasses.fields(CostConfig)}
  for name in changes:
    if name not in kinds:
      raise UserError(f"cost {name!r} does not exist; {nearest(name, kinds)}")
  values = {name: checked(value, kinds[name], name, "cost") for name, value in changes.items()}
  return dataclasses.replace(cost, **values)
