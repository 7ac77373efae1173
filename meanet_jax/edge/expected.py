"""What an evaluation leads a device to expect, as edge.json holds it. NumPy and no JAX."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from meanet_jax.config.constraints import FIGURES, Constraints
from meanet_jax.cost.energy import CostModel, Shares
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

  num_images: int
  accuracy: float
  accuracy_interval: tuple[float, float]
  fraction: Mapping[str, float]
  ran_extension: float
  extension_and_cloud: float
  bytes_up: float
  energy_mj: float
  latency_ms: float
  latency_p95_ms: float

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
      ValueError: it holds something else.
    """
    names = [field.name for field in dataclasses.fields(cls)]
    if not isinstance(source, Mapping) or sorted(source) != sorted(names):
      raise ValueError(f"{name} is {source!r}; expected the fields {', '.join(names)}")
    fraction, interval = source["fraction"], source["accuracy_interval"]
    if not isinstance(fraction, Mapping) or sorted(fraction) != sorted(EXIT_NAMES):
      raise ValueError(f"{name}.fraction is {fraction!r}; expected {', '.join(EXIT_NAMES)}")
    if not isinstance(interval, list | tuple) or len(interval) != 2:
      raise ValueError(f"{name}.accuracy_interval is {interval!r}; expected two shares")
    numbers = {key: source[key] for key in names if key not in ("fraction", "accuracy_interval")}
    shares = (numbers["accuracy"], *interval, *fraction.values())
    shares = (*shares, numbers["ran_extension"], numbers["extension_and_cloud"])
    for value in (*numbers.values(), *shares):
      if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e300:
        raise ValueError(f"{name} has {value!r}; expected finite numbers, at least 0")
    if max(shares) > 1 or numbers["num_images"] != int(numbers["num_images"]):
      raise ValueError(f"{name} has shares {shares} of {numbers['num_images']} images")
    low, high = map(float, interval)
    return cls(
      **{key: float(value) for key, value in numbers.items()}
      | {"num_images": int(numbers["num_images"])},
      accuracy_interval=(low, high),
      fraction={exit: float(share) for exit, share in fraction.items()},
    )


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
        if found > asked:
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
