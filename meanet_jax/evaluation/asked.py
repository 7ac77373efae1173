"""What an evaluation is asked for, and whether one that is there is of just that."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from meanet_jax.config.constraints import Constraints
from meanet_jax.config.parsing import to_json
from meanet_jax.config.schema import Config
from meanet_jax.cost.changes import CostChanges
from meanet_jax.cost.profile_json import parse_named_profile
from meanet_jax.errors import UserError
from meanet_jax.files import read_json


class Asked(NamedTuple):
  """Constraints and costs under which a run is evaluated."""

  constraints: Constraints
  costs: CostChanges

  def same(self, other: "Asked", config: Config) -> bool:
    """Whether both come to the same for a run of this configuration."""
    return (
      self.constraints == other.constraints
      and self.costs.profile == other.costs.profile
      and self.costs.of(config.cost) == other.costs.of(config.cost)
    )


class Kept(NamedTuple):
  """An evaluation that is there.

  asked: for what it was. routing: the configuration's group of then. has_static: whether the plain
  network is among its systems. system: of its verdict.
  """

  asked: Asked
  routing: Mapping[str, Any]
  has_static: bool
  system: str | None

  def answers(self, asked: Asked, config: Config) -> bool:
    """Whether it is what would be found now: under these constraints, costs and rules, with the
    plain network that may have been trained since.
    """
    same_rules = self.routing == to_json(config)["routing"]
    same_systems = self.has_static == (config.baselines.static > 0)
    return same_rules and same_systems and self.asked.same(asked, config)


def kept_evaluation(path: Path | None) -> Kept | None:
  """The evaluation of a summary.json; None without one, or with one that does not say all that."""
  if path is None:
    return None
  try:
    summary = read_json(path)
    costs = CostChanges(parse_named_profile(summary["profile"]), summary["cost"])
    asked = Asked(Constraints.from_json(summary["constraints"]), costs)
    has_static = "static" in summary["systems"]
    return Kept(asked, summary["routing"], has_static, summary["verdict"]["system"])
  except (KeyError, TypeError, ValueError, UserError):
    return None
