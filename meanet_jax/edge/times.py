"""How long images take: mean, standard error and quantiles of a stream of any length."""

import itertools
import math
from collections import Counter

_WIDTH = 0.01  # of a bin, relative: quantiles are at most 1% above the exact ones
_SHORTEST = 1e-9  # seconds: below it all times are in one bin


class Times:
  """Times in seconds, of which counts per bin are kept and not every one."""

  def __init__(self):
    self.count = 0
    self._sum = 0.0
    self._squares = 0.0  # of differences from the mean, by Welford's recurrence
    self._mean = 0.0
    self._bins: Counter[int] = Counter()

  def add(self, seconds: float) -> None:
    """Counts one time."""
    self.count += 1
    self._sum += seconds
    before = seconds - self._mean
    self._mean += before / self.count
    self._squares += before * (seconds - self._mean)
    self._bins[math.ceil(math.log(max(seconds, _SHORTEST)) / math.log1p(_WIDTH))] += 1

  @property
  def sum(self) -> float:
    """Of all times."""
    return self._sum

  @property
  def mean(self) -> float | None:
    """None without a time."""
    return self._sum / self.count if self.count else None

  @property
  def standard_error(self) -> float | None:
    """Of the mean; None of fewer than two times."""
    if self.count < 2:
      return None
    return math.sqrt(self._squares / (self.count - 1) / self.count)

  def quantile(self, share: float) -> float | None:
    """The time that a share of all does not exceed, at most 1% too large; None without a time."""
    if not self.count:
      return None
    bins = sorted(self._bins)
    reached = itertools.accumulate(self._bins[bin] for bin in bins)
    wanted = share * self.count
    return (1 + _WIDTH) ** next(bin for bin, count in zip(bins, reached) if count >= wanted)
