"""Constraints of the device on a stream, as budgets of `routing/online/budget.py`."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from meanet_jax.cost.energy import Shares
from meanet_jax.edge.manifest import Manifest
from meanet_jax.errors import UserError
from meanet_jax.routing.online.agreement import AgreementMonitor
from meanet_jax.routing.online.budget import Budget, check_budget
from meanet_jax.routing.online.price import Pricing, priced


class PriceClock(NamedTuple):
  """pricing: of what is sent. now: the time, in seconds as `pricing.at` takes them."""

  pricing: Pricing
  now: Callable[[], float]


class OnlineConstraints(NamedTuple):
  """Constraints of the device on a stream; None for no constraint.

  target_offload: share of images. max_bytes: sent per image, of all images. max_energy_mj: by the
  cost model, with the bytes that were sent. bandit: the cost of offloading one image, in units of
  confidence. agreement: monitoring of the edge's confident answers. price: of an image or a byte
  sent, under which the first two are what is paid, in their unit at the mean price.
  """

  target_offload: float | None = None
  max_bytes: float | None = None
  max_energy_mj: float | None = None
  bandit: float | None = None
  agreement: AgreementMonitor | None = None
  price: PriceClock | None = None


class Use(NamedTuple):
  """What one image took: whether it was sent, bytes up, and whether the extension ran."""

  sent: bool
  bytes_up: float
  ran_extension: bool


class BudgetOf(NamedTuple):
  """A budget, and the units of it that an image took."""

  budget: Budget
  units: Callable[[Use], float]


def make_budgets(
  manifest: Manifest, constraints: OnlineConstraints, message_bytes: int
) -> dict[str, BudgetOf]:
  """The budgets by flag. Their least target is the cost of an image that is not sent.

  Args:
    manifest: constants of the cost model.
    constraints: of the device.
    message_bytes: that one raw image sends.

  Raises:
    UserError: a target that no threshold can keep; prices without a budget that they apply to.
  """
  share = constraints.agreement.share if constraints.agreement is not None else 0.0
  price = constraints.price
  costs = manifest.cost_model

  def energy(use: Use) -> float:
    ran, sent = float(use.ran_extension), float(use.sent)
    shares = Shares(1.0, ran, sent, ran * sent)
    return dataclasses.replace(costs, image_bytes=use.bytes_up).energy_mj(shares)

  asked: list[tuple[str, float | None, Callable[[Use], float]]] = [
    ("target_offload", constraints.target_offload, lambda use: float(use.sent)),
    ("max_bytes_per_image", constraints.max_bytes, lambda use: float(use.bytes_up)),
    ("max_energy_mj", constraints.max_energy_mj, energy),
  ]
  found = {}
  for name, target, units in asked:
    if target is None:
      continue
    largest, unsent = units(Use(True, message_bytes, True)), units(Use(False, 0, True))
    budget = Budget(target, largest)
    flag = f"--{name.replace('_', '-')}"
    # Before the price, which is 1 in the mean: what is monitored costs so much where images come
    # evenly over the time of the prices.
    check_budget(flag, budget, unsent + share * (budget.largest - unsent))
    if price is not None:
      budget = priced(budget, price.pricing)
    if name == "target_offload" and target > 1:
      raise UserError(f"{flag} is {target:g}; accepted: a share up to 1")
    found[name] = BudgetOf(budget, units)
  if price is not None and ("max_energy_mj" in found or not found):
    raise UserError(
      "--price-file without a budget of what is sent alone; "
      "accepted: with --target-offload or --max-bytes-per-image"
    )
  return found
