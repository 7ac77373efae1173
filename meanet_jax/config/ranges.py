"""Which numbers a field or a flag accepts."""

import sys
from typing import Annotated, Any, NamedTuple

SMALLEST = 1e-30  # what "above 0" is in a closed interval
LARGEST = sys.float_info.max  # and "without a limit", for JSON has no infinite number


class Range(NamedTuple):
  """The closed interval of accepted values of a number (or of a tuple's items)."""

  low: float
  high: float = LARGEST

  def holds(self, value: Any) -> bool:
    """Whether a number, or each of a tuple, lies in it. NaN and infinity do not."""
    numbers = value if isinstance(value, tuple) else (value,)
    return all(self.low <= number <= self.high for number in numbers)

  def __str__(self) -> str:
    if self.high < LARGEST:
      return f"{self.low:g} to {self.high:{'d' if isinstance(self.high, int) else 'g'}}"
    return "above 0" if self.low == SMALLEST else f"at least {self.low:g}"


Positive = Annotated[int, Range(1)]
NonNegative = Annotated[int, Range(0)]
Fraction = Annotated[float, Range(0, 1)]
NonNegativeFloat = Annotated[float, Range(0)]
PositiveFloat = Annotated[float, Range(SMALLEST)]
