"""What an evaluation leads a device to expect, as edge.json holds it. NumPy and no JAX."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

from meanet_jax.config.constraints import FIGURES, ROUNDING, Constraints
from meanet_jax.config.ranges import Fraction, NonNegative, NonNegativeFloat
from meanet_jax.config.values import checked, checked_object
from meanet_jax.cost.energy import CostModel, Shares
from meanet_jax.errors import UserError
from meanet_jax.routing.rules import EXIT_NAMES

CONFIDENCE = 0.95  # of the intervals of accuracy
SPLITS = ("validation", "test")
_COSTS = ("bytes_up", "energy_mj", "latency_ms", "latency_p95_ms")


@dataclasses.dataclass(frozen=True)
class SplitFigures:
  """What an operating point does with the images of a split.

  num_images: of the split. accuracy: and its exact binomial interval (Clopper and Pearson) at
  `CONFIDENCE`. fraction: shares of images that end at main, extension and cloud; the last are those
  that are sent. ran_extension: share for which it ran; extension_and_cloud: and which were sent all
  the same. bytes_up, energy_mj, latency_ms: means per image; latency_p95_ms: 0.95 quantile.
  """

  num_images: NonNegative
  accuracy: Fraction
  accuracy_interval: tuple[Fraction, ...]
  fraction: Mapping[str, float]
  ran_extension: Fraction
  extension_and_cloud: Fraction
  bytes_up: NonNegativeFloat
  energy_mj: NonNegativeFloat
  latency_ms: NonNegativeFloat
  latency_p95_ms: NonNegativeFloat

  @property
  def shares(self) -> Shares:
    """Of images, by what ran for them."""
    sent = self.fraction["cloud"]
    return Shares(1.0, self.ran_extension, sent, self.extension_and_cloud)

  def at_costs(self, costs: CostModel) -> "SplitFigures":
    """The same shares at other costs."""
    found = costs.of(self.shares)
    return dataclasses.replace(self, **{name: float(getattr(found, name)) for name in _COSTS})

  def to_json(self) -> dict[str, Any]:
    """All fields by name."""
    interval = list(self.accuracy_interval)
    return dataclasses.asdict(self) | {"accuracy_interval": interval}

  @classmethod
  def from_json(cls, source: Any, name: str) -> "SplitFigures":
    """The figures that a JSON value holds.

    Args:
      source: what `to_json` gave.
      name: what it is, for messages.

    Raises:
      UserError: it holds something else.
    """
    kinds = typing.get_type_hints(cls, include_extras=True)
    fields = checked_object(source, name, kinds, required=kinds)
    values = {
      key: checked(fields[key], kind, f"{name}.{key}", "field")
      for key, kind in kinds.items()
      if key != "fraction"
    }
    if len(interval := values["accuracy_interval"]) != 2:
      raise UserError(f"{name}.accuracy_interval is {interval}; expected two shares")
    shares = checked_object(fields["fraction"], f"{name}.fraction", EXIT_NAMES, required=EXIT_NAMES)
    fraction = {
      exit: checked(share, Fraction, f"{name}.fraction.{exit}", "field")
      for exit, share in shares.items()
    }
    return cls(**values, fraction=fraction)


@dataclasses.dataclass(frozen=True)
class Evaluated:
  """The evaluation that an exported operating point is from.

  name: None for that without a name. constraints: under which it was selected. expected: figures by
  split, `SPLITS`.
  """

  name: str | None
  constraints: Constraints
  expected: Mapping[str, SplitFigures]

  def at_costs(self, costs: CostModel) -> "Evaluated":
    """The same at other costs."""
    expected = {split: figures.at_costs(costs) for split, figures in self.expected.items()}
    return dataclasses.replace(self, expected=expected)

  def broken_limit(self) -> str | None:
    """Which limit on costs the figures on validation break, as after `at_costs`; None for none."""
    figures = self.expected["validation"]
    for limit, asked in self.constraints.to_json().items():
      if FIGURES.get(limit) in _COSTS and asked is not None:
        found = getattr(figures, FIGURES[limit])
        if found > asked * (1 + ROUNDING):
          flag = limit.replace("_", "-")
          return f"at these costs the thresholds have {flag} {found:.4g}, above {asked:g}"
    return None

  def to_json(self) -> dict[str, Any]:
    """What edge.json holds."""
    return {
      "name": self.name,
      "constraints": self.constraints.to_json(),
      "expected": {split: figures.to_json() for split, figures in self.expected.items()},
    }

  @classmethod
  def from_json(cls, source: Any) -> "Evaluated":
    """What a JSON value holds.

    Raises:
      KeyError, ValueError, UserError: it holds something else.
    """
    if not isinstance(source, Mapping):
      raise ValueError(f"evaluation is {source!r}; expected an object")
    name, expected = source["name"], source["expected"]
    if not isinstance(name, str | None):
      raise ValueError(f"evaluation.name is {name!r}; expected a text, or null")
    if not isinstance(expected, Mapping) or sorted(expected) != sorted(SPLITS):
      raise ValueError(f"evaluation.expected is {expected!r}; expected {', '.join(SPLITS)}")
    return cls(
      name,
      Constraints.from_json(source["constraints"], "evaluation.constraints"),
      {
        split: SplitFigures.from_json(figures, f"evaluation.expected.{split}")
        for split, figures in expected.items()
      },
    )
