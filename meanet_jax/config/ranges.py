"""Types of numbers in a configuration, each with the interval of its accepted values."""

from typing import Annotated, Any, NamedTuple


class Range(NamedTuple):
  """The closed interval of accepted values of a number (or of a tuple's items)."""

  low: float
  high: float = float("inf")

  def holds(self, value: Any) -> bool:
    """Whether a number, or each of a tuple, lies in it. NaN does not."""
    numbers = value if isinstance(value, tuple) else (value,)
    return all(self.low <= number <= self.high for number in numbers)


Positive = Annotated[int, Range(1)]
NonNegative = Annotated[int, Range(0)]
Fraction = Annotated[float, Range(0, 1)]
NonNegativeFloat = Annotated[float, Range(0)]
PositiveFloat = Annotated[float, Range(1e-30)]
