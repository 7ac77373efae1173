"""A budget under prices that move, on invented images: with and without a look at the price.

Writes benchmarks/online_price.md.

Command: python -m benchmarks.online_price [--seeds 20] [--images 20000]
"""

import argparse
import platform
from pathlib import Path
from typing import NamedTuple

import numpy as np

from meanet_jax.routing.online.budget import Budget, spend, start
from meanet_jax.routing.online.price import (
  Pricing,
  guaranteed_excess,
  priced,
  relative_price,
  threshold_at_price,
)

TARGET = 0.1  # paid per image, where an image costs 1 at the mean price
STEP = 0.02
PER_DAY = 2000  # images
PATTERNS = ("daily", "spikes", "constant")
# What a rule multiplies the threshold by, and what it spends for an image that is sent.
RULES = {
  "price": "price in threshold and budget",
  "spending": "price in the budget alone",
  "share": "no price: a share of images",
}


class Images(NamedTuple):
  """Arrays [n]: normalised uncertainty, and whether the edge and the cloud answer rightly."""

  uncertainty: np.ndarray
  edge_right: np.ndarray
  cloud_right: np.ndarray


class Simulated(NamedTuple):
  """Arrays [n]: whether an image was sent, what it cost, whether its answer was right."""

  sent: np.ndarray
  paid: np.ndarray
  right: np.ndarray


def invented_images(count: int, rng: np.random.Generator, informative: bool = True) -> Images:
  """Images of which the edge gets fewer right the more uncertain it is; the cloud 97% of all.

  Args:
    count: of images.
    rng: draws them.
    informative: False makes the edge wrong at random, whatever its uncertainty.
  """
  uncertainty = rng.beta(1, 2, count)
  wrong = 0.8 * uncertainty if informative else np.full(count, 0.8 / 3)
  return Images(uncertainty, rng.uniform(size=count) >= wrong, rng.uniform(size=count) < 0.97)


def invented_prices(count: int, rng: np.random.Generator, pattern: str = "daily") -> np.ndarray:
  """The price at each image, of mean 1.

  Args:
    count: of images.
    rng: draws what is random about them.
    pattern: `daily`, a wave of `PER_DAY` images between about 0.4 and 1.6 with noise; `spikes`, a
      fortieth of the time at ten times the price; `constant`.
  """
  hours = np.arange(count) // (PER_DAY // 24)
  if pattern == "daily":
    wave = 1 + 0.6 * np.sin(2 * np.pi * hours / 24 + rng.uniform(0, 2 * np.pi))
    price = wave * rng.lognormal(0, 0.1, hours[-1] + 1)[hours]
  elif pattern == "spikes":
    price = np.where(rng.uniform(size=hours[-1] + 1) < 1 / 40, 10.0, 1.0)[hours]
  else:
    price = np.ones(count)
  return price / price.mean()


def simulate(images: Images, prices: np.ndarray, budget: Budget, rule: str) -> Simulated:
  """A stream under a budget.

  Args:
    images: of the stream.
    prices: [n], of mean 1.
    budget: in images at the mean price.
    rule: of `RULES`.
  """
  listed = prices.tolist()
  pricing = Pricing(lambda time: listed[int(time)], 1.0, min(listed), max(listed))
  of = budget if rule == "share" else priced(budget, pricing)
  state, sent, paid = start(of, 0.5), [], []
  for number, uncertainty in enumerate(images.uncertainty.tolist()):
    relative = relative_price(pricing, number)
    by_price = threshold_at_price(state.threshold, relative)
    sent.append(uncertainty > (by_price if rule == "price" else state.threshold))
    paid.append(relative * sent[-1])
    state = spend(of, state, float(sent[-1]) if rule == "share" else paid[-1])
  sends = np.array(sent)
  right = np.where(sends, images.cloud_right, images.edge_right)
  return Simulated(sends, np.array(paid), right)


def spread(values: list[float], digits: int = 2) -> str:
  """Mean and standard deviation."""
  return f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f}"


def rows(seeds: int, count: int, pattern: str, informative: bool) -> list[str]:
  """Lines of the table, of streams that all rules share."""
  found: dict[str, dict[str, list[float]]] = {
    rule: {name: [] for name in ("paid", "sent", "low", "high", "right")} for rule in RULES
  }
  for seed in range(seeds):
    rng = np.random.default_rng(seed)
    images = invented_images(count, rng, informative)
    prices = invented_prices(count, rng, pattern)
    low, target = prices < 1, TARGET
    for rule, columns in found.items():
      run = simulate(images, prices, Budget(target, step=STEP), rule)
      if rule == "price":  # the others may spend what it has spent, to the last image
        target = float(run.paid.mean())
      columns["paid"].append(100 * run.paid.mean())
      columns["sent"].append(100 * run.sent.mean())
      columns["low"].append(100 * run.sent[low].mean() if low.any() else np.nan)
      columns["high"].append(100 * run.sent[~low].mean() if (~low).any() else np.nan)
      columns["right"].append(100 * run.right.mean())
  lines = []
  for rule, columns in found.items():
    less = np.subtract(columns["right"], found["price"]["right"])
    paired = f"{spread(less.tolist())}, {np.sum(less > 0)} of {seeds}"
    cells = [
      pattern if informative else f"{pattern}, uncertainty says nothing",
      RULES[rule],
      *(spread(values) for values in columns.values()),
      "" if rule == "price" else paired,
    ]
    lines.append(f"| {' | '.join(cells)} |".replace("nan ± nan", "-"))
  return lines


def main() -> None:
  """Writes the page."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--seeds", type=int, default=20, help="streams, of images and prices")
  parser.add_argument("--images", type=int, default=20_000, help="in each stream")
  arguments = parser.parse_args()
  seeds, count = arguments.seeds, arguments.images
  cases = [*((pattern, True) for pattern in PATTERNS), ("daily", False)]
  table = [line for case in cases for line in rows(seeds, count, *case)]
  titles = (
    *("prices", "rule", "paid [% of one image at the mean price]", "sent [%]"),
    *("sent below the mean price [%]", "sent above [%]", "right [%]"),
    "right, against the first rule [points], and streams in which it is better",
  )
  prices = invented_prices(count, np.random.default_rng(0))
  pricing = Pricing(lambda _: 1.0, 1.0, float(prices.min()), float(prices.max()))
  bound = 100 * guaranteed_excess(Budget(TARGET, step=STEP), pricing, count)
  lines = [
    "# A budget under prices that move",
    "",
    "Simulated, on invented images and prices: it shows what the rule of "
    "`meanet_jax/routing/online/price.py` does, and not what any real link or tariff saves. The "
    f"first rule may pay {100 * TARGET:g}% of one image at the mean price, per image, step "
    f"{STEP:g}, and the others what it has paid in the same stream. The first multiplies the "
    "threshold by the price; the second spends the budget without that; the third keeps a share of "
    f"images. {seeds} streams of {count:,} images, the same for all rules; mean ± standard "
    "deviation over streams. Made by `python -m benchmarks.online_price`.",
    "",
    "The edge is wrong about an image with a probability of 0.8 times its uncertainty (a mean of "
    "27%), the cloud about 3%. `daily`: a cycle between 0.4 and 1.6 of the mean with noise, "
    f"{PER_DAY:,} images a day. `spikes`: a fortieth of the hours at ten times the price.",
    "",
    f"| {' | '.join(titles)} |",
    f"|{'---|' * len(titles)}",
    *table,
    "",
    f"For any images, and daily prices such as the first stream's, at most "
    f"{100 * TARGET + bound:.2f}% is paid over {count:,} images (`guaranteed_excess`).",
    "",
    f"Versions: Python {platform.python_version()}, numpy {np.__version__}.",
    "",
  ]
  Path(__file__).with_suffix(".md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
  main()
