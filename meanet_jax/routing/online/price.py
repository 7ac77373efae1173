"""Prices that change with time, and a budget of what is paid under them.

A price is what one unit of a budget costs at a time: an image sent, or a byte. Relative to the
reference price it is r(t), and an image that takes u units costs u x r(t), so a budget's target
keeps its unit: it is what the budget would spend per image at the reference price.

Sending the images that are worth most for what they cost is a knapsack problem. Its Lagrangian
sends an image where gain > multiplier x price (Kellerer, Pferschy, Pisinger 2004, "Knapsack
problems"; for prices that arrive online, Zhou, Chakrabarty, Lukose 2008, "Budget constrained
bidding in keyword auctions and online knapsack problems", WINE). With the normalised uncertainty in
place of the gain, an image is sent where

    uncertainty > threshold x r(t)

and the threshold, which is the multiplier, follows quantile tracking (`budget.py`) with the cost
u x r(t). At a constant price of the reference this is the budget without prices.

The bound of `budget.py` becomes `guaranteed_excess` here. The threshold rises only for an image
that was sent and cost more than the target, hence at r(t) > target / u, and it was below
NOTHING_SENT / r(t). So it stays below NOTHING_SENT / r_low + step, where r_low is the larger of the
least relative price and target / largest units, and the mean of what is paid for any T consecutive
images exceeds the target by at most

    (max(1, 1 / r_low) x NOTHING_SENT + step) x largest / (step x T)

in which largest is the most that one image costs, at the highest price.
"""

import bisect
import csv
import datetime
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from meanet_jax.errors import UserError
from meanet_jax.routing.normalised_threshold import NOTHING_SENT
from meanet_jax.routing.online.budget import Budget

MAX_GAP = 86_400.0  # seconds between two rows; day-ahead prices are hourly

Number = Any  # of Python or NumPy


class Prices(NamedTuple):
  """A step function: `prices[i]` holds from `times[i]` up to `times[i + 1]`, the last one for good.

  times: seconds, increasing: since 1970 (UTC) where `dated`, otherwise since the stream began.
  """

  times: tuple[float, ...]
  prices: tuple[float, ...]
  dated: bool


class Pricing(NamedTuple):
  """What a budget needs to know of prices.

  at: the price at a time in seconds. reference: the price at which a target is stated, above 0.
  least, largest: bounds of the price, from 0.
  """

  at: Callable[[float], float]
  reference: float
  least: float
  largest: float


def read_prices(path: str | Path, max_gap: Number = MAX_GAP) -> Prices:
  """The prices of a CSV file; see `parse_prices`.

  Raises:
    UserError: a file that cannot be read, or that `parse_prices` refuses.
  """
  try:
    text = Path(path).read_text(encoding="utf-8-sig")  # spreadsheets write a byte order mark
  except (OSError, UnicodeDecodeError) as error:
    reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
    raise UserError(
      f"the price file {path} cannot be read: {reason}; accepted: a CSV file of time,price"
    ) from error
  return parse_prices(text.splitlines(), f"the price file {path}", max_gap)


def parse_prices(lines: Iterable[str], name: str, max_gap: Number = MAX_GAP) -> Prices:
  """Prices from rows `time,price`, which a row of these two names may precede.

  Times are all ISO 8601 (UTC where they name no zone), or all seconds since the stream began.

  Args:
    lines: of the CSV file.
    name: of the file, for messages.
    max_gap: seconds between two rows at most.

  Raises:
    UserError: naming the row, counted from 1 with the header: not two values, a time or price that
      is missing or no finite number, a negative price, times of both kinds, times that do not
      increase, or a gap; or no row, or prices that are all 0.
  """
  times: list[float] = []
  prices: list[float] = []
  dated: bool | None = None
  for number, row in enumerate(csv.reader(lines), 1):
    cells = [cell.strip() for cell in row]
    if not any(cells) or (number == 1 and cells == ["time", "price"]):
      continue
    where = f"{name}, row {number}"
    if len(cells) != 2:
      raise UserError(f"{where} has {len(cells)} values; accepted: time,price")
    time, is_date = _time(cells[0], where)
    price = _price(cells[1], where)
    if dated is not None and is_date != dated:
      raise UserError(f"{where}: time is {cells[0]!r}; accepted: ISO times or seconds, not both")
    if times and time <= times[-1]:
      raise UserError(f"{where}: time {cells[0]} does not follow the one before; accepted: later")
    if times and time - times[-1] > max_gap:
      raise UserError(
        f"{where}: time {cells[0]} is {time - times[-1]:g} s after the one before; "
        f"accepted: at most {max_gap:g} s"
      )
    times.append(time)
    prices.append(price)
    dated = is_date
  if dated is None:
    raise UserError(f"{name} has no row; accepted: rows of time,price")
  if not max(prices) > 0:
    raise UserError(f"{name} has no price above 0; accepted: at least one")
  return Prices(tuple(times), tuple(prices), dated)


def check_start(prices: Prices, name: str, now: Number, max_gap: Number = MAX_GAP) -> None:
  """Refuses prices that do not hold when a stream starts.

  Args:
    prices: of the file.
    name: of the file, for the message.
    now: seconds, as `prices.times` are.
    max_gap: seconds for which the last price is taken to hold, at the start.

  Raises:
    UserError: the first row is later than `now`, or the last one is older than `max_gap`.
  """
  first, last = prices.times[0], prices.times[-1]
  if now < first:
    raise UserError(f"{name} begins {first - now:.0f} s from now; accepted: a first row before it")
  if prices.dated and now - last > max_gap:
    raise UserError(
      f"{name} ended {now - last:.0f} s ago; accepted: a last row at most {max_gap:g} s old"
    )


def price_at(prices: Prices, time: Number) -> float:
  """The price at a time in seconds, from the first row on.

  Raises:
    ValueError: a time before the first row.
  """
  row = bisect.bisect_right(prices.times, time) - 1
  if row < 0:
    raise ValueError(f"time {time:g} is before the first price, {prices.times[0]:g}")
  return prices.prices[row]


def mean_price(prices: Prices) -> float:
  """The mean over time; the last row is taken to last as long as the one before it."""
  spans = [after - before for before, after in zip(prices.times, prices.times[1:], strict=False)]
  spans.append(spans[-1] if spans else 1.0)
  paid = (price * span for price, span in zip(prices.prices, spans, strict=True))
  return math.fsum(paid) / math.fsum(spans)


def from_prices(prices: Prices) -> Pricing:
  """Pricing by a step function, whose mean is the reference."""
  return Pricing(
    at=lambda time: price_at(prices, time),
    reference=mean_price(prices),
    least=min(prices.prices),
    largest=max(prices.prices),
  )


def relative_price(pricing: Pricing, time: Number) -> float:
  """r(t): the price at a time over the reference.

  Raises:
    UserError: a function's price that is no number within its bounds.
  """
  price = pricing.at(time)
  if not pricing.least <= price <= pricing.largest:  # also refuses NaN
    raise UserError(
      f"the price at {time:g} s is {price:g}; accepted: {pricing.least:g} to {pricing.largest:g}"
    )
  return price / pricing.reference


def priced(budget: Budget, pricing: Pricing) -> Budget:
  """The budget of what is paid, in the same unit at the reference price.

  Args:
    budget: `largest` is the most units that one image takes.
    pricing: bounds and reference.
  """
  return budget._replace(largest=budget.largest * pricing.largest / pricing.reference)


def threshold_at_price(threshold: float, relative: Number) -> float:
  """The normalised threshold that an image meets.

  Args:
    threshold: of the budget's state, at the reference price.
    relative: r(t).
  """
  return threshold * relative


def guaranteed_excess(budget: Budget, pricing: Pricing, num_images: int) -> float:
  """By how much the mean paid for any so many consecutive images can exceed the target at most.

  Args:
    budget: `largest` is the most units that one image takes, as before `priced`.
    pricing: bounds and reference.
    num_images: T.
  """
  low = max(pricing.least / pricing.reference, budget.target / budget.largest)
  paid = priced(budget, pricing)
  reach = NOTHING_SENT * max(1.0, 1 / low) + budget.step
  return reach * paid.largest / (budget.step * num_images)


def _time(text: str, where: str) -> tuple[float, bool]:
  """Seconds, and whether the text is a date."""
  try:
    seconds, is_date = float(text), False
  except ValueError:
    try:
      date = datetime.datetime.fromisoformat(text)
    except ValueError as error:
      raise UserError(
        f"{where}: time is {text!r}; accepted: an ISO time or a number of seconds"
      ) from error
    if date.tzinfo is None:
      date = date.replace(tzinfo=datetime.UTC)
    seconds, is_date = date.timestamp(), True
  if not math.isfinite(seconds):
    raise UserError(f"{where}: time is {text!r}; accepted: a finite number of seconds")
  return seconds, is_date


def _price(text: str, where: str) -> float:
  try:
    price = float(text)
  except ValueError as error:
    raise UserError(f"{where}: price is {text!r}; accepted: a number from 0") from error
  if not (math.isfinite(price) and price >= 0):
    raise UserError(f"{where}: price is {text!r}; accepted: a finite number from 0")
  return price
