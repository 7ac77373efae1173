"""Prices against slow references, and budgets of what is paid."""

import datetime
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.online_price import invented_images, invented_prices, simulate
from meanet_jax.errors import UserError
from meanet_jax.routing.online.budget import Budget, check_budget, spend, start
from meanet_jax.routing.online.budget import guaranteed_excess as plain_excess
from meanet_jax.routing.online.price import (
  MAX_GAP,
  Prices,
  Pricing,
  check_start,
  from_prices,
  guaranteed_excess,
  mean_price,
  parse_prices,
  price_at,
  priced,
  read_prices,
  relative_price,
  threshold_at_price,
)

ROWS = st.lists(
  st.tuples(st.integers(1, 100), st.floats(0, 50)), min_size=1, max_size=12
)  # (seconds since the row before, price)


def step_function(rows: list[tuple[int, float]]) -> Prices:
  times = np.cumsum([span for span, _ in rows]).astype(float)
  return Prices(tuple(times.tolist()), tuple(price for _, price in rows), dated=False)


def test_rows_by_hand(tmp_path):
  path = tmp_path / "prices.csv"
  path.write_text("time,price\n0,2\n\n60, 4.5\n90,0\n")
  found = read_prices(path)
  assert found == Prices((0.0, 60.0, 90.0), (2.0, 4.5, 0.0), dated=False)
  path.write_text(path.read_text(), encoding="utf-8-sig")  # as spreadsheets write it
  assert read_prices(path) == found
  expected = {0: 2, 59.9: 2, 60: 4.5, 89: 4.5, 90: 0, 1e9: 0}
  assert {time: price_at(found, time) for time in expected} == expected
  # The last row counts as long as the one before it.
  assert mean_price(found) == pytest.approx((2 * 60 + 4.5 * 30 + 0 * 30) / 120)
  assert mean_price(Prices((5.0,), (3.0,), dated=False)) == 3
  with pytest.raises(ValueError, match="time -1 is before the first price"):
    price_at(found, -1)


def test_dates_are_utc_where_they_name_no_zone():
  rows = ["2026-01-01T00:00,1", "2026-01-01T02:00:00+01:00,2", "2026-01-01T02:00Z,3"]
  found = parse_prices(rows, "prices")
  midnight = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC).timestamp()
  assert found == Prices((midnight, midnight + 3600, midnight + 7200), (1.0, 2.0, 3.0), dated=True)


@settings(max_examples=100, deadline=None)
@given(rows=ROWS, times=st.lists(st.floats(0, 1500), min_size=1, max_size=20))
def test_a_step_function_against_a_search_row_by_row(rows, times):
  prices = step_function(rows)
  for time in times:
    expected = None
    for begin, price in zip(prices.times, prices.prices, strict=True):
      if begin <= time:
        expected = price
    if expected is None:
      with pytest.raises(ValueError, match="before the first price"):
        price_at(prices, time)
    else:
      assert price_at(prices, time) == expected


@settings(max_examples=50, deadline=None)
@given(rows=ROWS)
def test_the_mean_is_the_integral_second_by_second(rows):
  prices = step_function(rows)
  last = rows[-2 if len(rows) > 1 else -1]
  span = rows[-1][0] if len(rows) > 1 else 1
  assert last
  seconds = np.arange(prices.times[0], prices.times[-1] + span)
  expected = np.mean([price_at(prices, second) for second in seconds])
  assert mean_price(prices) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(rows=ROWS)
def test_what_is_written_is_read(rows):
  prices = step_function(rows)
  lines = [f"{time!r},{price!r}" for time, price in zip(*prices[:2], strict=True)]
  if max(prices.prices) > 0:
    assert parse_prices(lines, "prices") == prices
  else:
    with pytest.raises(UserError, match="prices has no price above 0"):
      parse_prices(lines, "prices")


@pytest.mark.parametrize(
  ("rows", "message"),
  [
    ([], "p has no row; accepted: rows of time,price"),
    (["time,price"], "p has no row"),
    (["0,0", "1,0"], "p has no price above 0; accepted: at least one"),
    (["time,price", "0,1", "5"], "p, row 3 has 1 values; accepted: time,price"),
    (["0,1", "1,2,3"], "p, row 2 has 3 values"),
    (["0,1", "9,1", "8,1"], "p, row 3: time 8 does not follow the one before; accepted: later"),
    (["0,1", "0,1"], "p, row 2: time 0 does not follow"),
    (["0,1", "86401,1"], "p, row 2: time 86401 is 86401 s after the one before; accepted: at most"),
    (["0,-1"], "p, row 1: price is '-1'; accepted: a finite number from 0"),
    (["0,nan"], "p, row 1: price is 'nan'; accepted: a finite number from 0"),
    (["0,inf"], "p, row 1: price is 'inf'; accepted: a finite number"),
    (["0,"], "p, row 1: price is ''; accepted: a number from 0"),
    (["0,dear"], "p, row 1: price is 'dear'; accepted: a number from 0"),
    ([",1"], "p, row 1: time is ''; accepted: an ISO time or a number of seconds"),
    (["inf,1"], "p, row 1: time is 'inf'; accepted: a finite number of seconds"),
    (["noon,1"], "p, row 1: time is 'noon'; accepted: an ISO time"),
    (["0,1", "2026-01-01,2"], "p, row 2: time is '2026-01-01'; accepted: ISO times or seconds"),
  ],
)
def test_rows_that_are_refused(rows, message):
  with pytest.raises(UserError, match=message) as caught:
    parse_prices(rows, "p")
  assert "\n" not in str(caught.value)


def test_files_that_are_refused(tmp_path):
  with pytest.raises(UserError, match=r"none.csv cannot be read: No such file .*; accepted: a CSV"):
    read_prices(tmp_path / "none.csv")
  (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe")
  with pytest.raises(UserError, match=r"bytes.csv cannot be read: it is no UTF-8 text"):
    read_prices(tmp_path / "bytes.csv")


def test_a_gap_is_what_the_caller_says():
  rows = ["0,1", "100,1"]
  assert len(parse_prices(rows, "p", max_gap=100).times) == 2
  with pytest.raises(UserError, match=r"row 2: time 100 is 100 s after the one before; .* 99 s"):
    parse_prices(rows, "p", max_gap=99)


def test_prices_have_to_hold_at_the_start():
  prices = Prices((100.0, 200.0), (1.0, 2.0), dated=True)
  for now in (100, 150, 200 + MAX_GAP):
    check_start(prices, "p", now)
  with pytest.raises(UserError, match="p begins 50 s from now; accepted: a first row before it"):
    check_start(prices, "p", 50)
  with pytest.raises(UserError, match="p ended 86401 s ago; accepted: a last row at most 86400 s"):
    check_start(prices, "p", 200 + MAX_GAP + 1)
  check_start(prices._replace(dated=False), "p", 1e9)  # seconds of the stream: the last one holds


def test_prices_from_a_function():
  pricing = Pricing(lambda time: 1 + time, reference=2.0, least=1.0, largest=4.0)
  assert relative_price(pricing, 1.0) == 1.0
  assert relative_price(pricing, 3.0) == 2.0
  for time, price in ((4.0, "5"), (-2.0, "-1"), (math.nan, "nan")):
    with pytest.raises(UserError, match=f"the price at .* s is {price}; accepted: 1 to 4"):
      relative_price(pricing, time)


def test_a_constant_price_is_the_budget_without_prices():
  pricing = from_prices(Prices((0.0, 10.0), (7.0, 7.0), dated=False))
  budget = Budget(0.2)
  assert priced(budget, pricing) == budget
  assert guaranteed_excess(budget, pricing, 100) == pytest.approx(plain_excess(budget, 100))
  assert relative_price(pricing, 3.0) == 1.0
  assert threshold_at_price(0.3, 1.0) == 0.3


def paid_by(budget: Budget, pricing: Pricing, uncertainties, times) -> np.ndarray:
  """What each image costs, in the budget's unit, by plain Python."""
  of, paid = priced(budget, pricing), []
  state = start(of, 0.5)
  for uncertainty, time in zip(uncertainties, times, strict=True):
    relative = relative_price(pricing, time)
    sent = uncertainty > threshold_at_price(state.threshold, relative)
    paid.append(relative * sent)
    state = spend(of, state, paid[-1])
  return np.array(paid)


@settings(max_examples=60, deadline=None)
@given(
  seed=st.integers(0, 10**6),
  rows=ROWS.filter(lambda rows: max(price for _, price in rows) > 0.1),
  target=st.floats(0.01, 1),
  step=st.sampled_from([0.05, 0.2, 1.0]),
)
def test_no_window_pays_more_than_the_bound(seed, rows, target, step):
  """Any prices, images that are all alike, harder and harder, or random."""
  rng = np.random.default_rng(seed)
  pricing = from_prices(step_function(rows))
  count = 80
  uncertainties = rng.choice([rng.uniform(0, 1), 0.0, 1.0], count)
  times = pricing_times(rows, count)
  budget = Budget(target, step=step)
  sums = np.concatenate([[0], np.cumsum(paid_by(budget, pricing, uncertainties, times) - target)])
  worst = max(sums[j] - sums[i] for i in range(count + 1) for j in range(i, count + 1))
  assert worst <= guaranteed_excess(budget, pricing, 1) * (1 + 1e-9)


def pricing_times(rows: list[tuple[int, float]], count: int) -> np.ndarray:
  first, last = rows[0][0], sum(span for span, _ in rows)
  return np.linspace(first, last + 10, count)


def test_the_bound_is_not_an_idle_one():
  """The cheapest images drive the threshold up as far as the bound says, the dearest pay then."""
  pricing = Pricing(lambda time: 0.5 if time < 5000 else 2.0, 1.0, 0.5, 2.0)
  budget = Budget(0.1, step=0.2)
  paid = paid_by(budget, pricing, np.ones(10_000), np.arange(10_000))
  sums = np.concatenate([[0], np.cumsum(paid - 0.1)])
  worst = max(sums[at:].max() - sums[at] for at in range(0, 10_001, 10))
  assert (
    0.4 * guaranteed_excess(budget, pricing, 1) <= worst <= guaranteed_excess(budget, pricing, 1)
  )


def test_free_images_are_all_sent():
  pricing = from_prices(Prices((0.0, 50.0), (0.0, 3.0), dated=False))
  paid = paid_by(Budget(0.1), pricing, np.full(100, 0.01), np.arange(100))
  assert paid[:50].sum() == 0
  check_budget("--x", priced(Budget(0.1), pricing))


@pytest.mark.parametrize("seed", range(3))
def test_at_equal_cost_more_is_sent_at_low_prices_and_at_least_as_much_is_right(seed):
  rng = np.random.default_rng(seed)
  images, prices = invented_images(12_000, rng), invented_prices(12_000, rng)
  aware = simulate(images, prices, Budget(0.1, step=0.02), "price")
  assert aware.paid.mean() == pytest.approx(0.1, rel=0.05)
  low = prices < 1
  for rule in ("spending", "share"):
    # Each may pay what the first has paid, and pays no less.
    blind = simulate(images, prices, Budget(float(aware.paid.mean()), step=0.02), rule)
    assert blind.paid.mean() == pytest.approx(aware.paid.mean(), rel=0.03)
    assert aware.sent[low].mean() > 1.2 * blind.sent[low].mean()
    assert aware.sent[~low].mean() < blind.sent[~low].mean()
    assert aware.sent.sum() > blind.sent.sum()
    assert aware.right.mean() >= blind.right.mean()
