"""Online adaptation of a running edge: thresholds from budgets or a bandit, agreement monitoring.

The rules are pure functions of `meanet_jax/routing/online`; their states are kept here and updated
with the result of every image.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from meanet_jax.edge.manifest import Manifest
from meanet_jax.edge.online_constraints import OnlineConstraints, Use, make_budgets
from meanet_jax.edge.results import Result
from meanet_jax.errors import UserError
from meanet_jax.routing.normalised_threshold import (
  NOTHING_SENT,
  normalised_threshold,
  normalised_uncertainty,
  refuse_without_threshold,
  thresholds_at,
)
from meanet_jax.routing.online import agreement as monitoring
from meanet_jax.routing.online import bandit as bandits
from meanet_jax.routing.online import budget as budgets
from meanet_jax.routing.online import price as prices
from meanet_jax.routing.policies import Thresholds
from meanet_jax.routing.rules import EXTENSION

ARMS = 11  # of the bandit, normalised thresholds, evenly spaced
_MONITORED_PER_LOOK = 10  # an exact interval takes longer than an image


class _Expected(NamedTuple):
  """Of an image that is not settled: what was spent for it, at which relative price; the arm."""

  use: Use
  price: float
  arm: int


class OnlineAdaptation:
  """Keeps budgets or plays a bandit, and monitors agreement. `stream.py` calls each method."""

  def __init__(
    self,
    manifest: Manifest,
    constraints: OnlineConstraints,
    message_bytes: int,
    alarm: Callable[[monitoring.Agreement], None],
    seed: int = 0,
  ):
    """The state before the first image.

    Args:
      manifest: policy, where thresholds start, constants.
      constraints: of the device.
      message_bytes: that one raw image sends.
      alarm: called when the agreement of monitored images falls below the floor.
      seed: of the sample of monitored images.

    Raises:
      UserError: constraints that cannot be kept, or not together.
    """
    self._constraints, self._seed, self._alarm = constraints, seed, alarm
    self._point = manifest.operating_point
    self._message_bytes = float(message_bytes)  # that the next image is expected to send
    self._budgets = make_budgets(manifest, constraints, message_bytes)
    self._spending: dict[str, budgets.Spending] = {}
    self._units = dict.fromkeys(self._budgets, 0.0)
    self._price = 1.0  # of the newest image, relative
    self._bandit: bandits.Bandit | None = None
    self._expected: dict[int, _Expected] = {}  # by image
    self._arm = 0
    if self._budgets and constraints.bandit is not None:
      raise UserError("--bandit with a budget; accepted: one of them, both set the thresholds")
    if self._budgets:
      threshold = normalised_threshold(self._point)
      self._spending = {n: budgets.start(of.budget, threshold) for n, of in self._budgets.items()}
    if constraints.bandit is not None:
      refuse_without_threshold(self._point.policy)
      if not 0 <= constraints.bandit <= 1:
        raise UserError(f"--bandit is {constraints.bandit:g}; accepted: a cost from 0 to 1")
      thresholds = (*np.linspace(0, 1, ARMS - 1).tolist(), NOTHING_SENT)
      side = self._point.policy.offload == "late"
      self._bandit = bandits.Bandit(thresholds, constraints.bandit, side_observations=side)
      self._observed = bandits.start(self._bandit)
    if constraints.agreement is not None:
      monitoring.check_monitor(constraints.agreement)
    self._agreements, self._looked, self._alarmed = monitoring.Agreements(), 0, False

  @property
  def moves_thresholds(self) -> bool:
    """Whether thresholds may become others than the export's; monitoring alone moves none."""
    return bool(self._budgets) or self._bandit is not None

  def thresholds(self) -> Thresholds | None:
    """For the next image; None leaves the export's."""
    if self._spending:
      threshold = budgets.strictest(*self._spending.values())
      if (price := self._constraints.price) is not None:
        self._price = prices.relative_price(price.pricing, price.now())
        threshold = prices.threshold_at_price(threshold, self._price)
    elif self._bandit is not None:
      self._arm = bandits.choose_arm(self._bandit, self._observed)
      threshold = self._bandit.thresholds[self._arm]
    else:
      return None
    point = self._point
    return thresholds_at(threshold, point.policy, point.hard_classes, point.thresholds)

  def monitors(self, number: int, complex: bool) -> bool:
    """Whether an image that the edge would keep is sent to monitor agreement."""
    monitor = self._constraints.agreement
    if monitor is None or complex:
      return False
    return monitoring.is_monitored(monitor, self._seed, number)

  def record_decision(self, number: int, sent: bool, ran_extension: bool) -> None:
    """Called for every image that could have been sent, with whether its extension ran."""
    if not self._spending and self._bandit is None:
      return
    use = Use(sent, self._message_bytes if sent else 0.0, ran_extension)
    self._expected[number] = _Expected(use, self._price, self._arm)
    for name, (budget, units) in self._budgets.items():
      taken = units(use)
      self._units[name] += taken
      self._spending[name] = budgets.spend(budget, self._spending[name], taken * self._price)

  def record_result(self, result: Result) -> None:
    """Called for every final answer."""
    if result.monitored in ("agrees", "differs"):
      self._look(result.monitored == "agrees")
    expected = self._expected.pop(result.item.number, None)
    if expected is None:
      return
    answer, reply = result.answer, result.reply
    sent = reply is not None and reply.attempts > 0
    bytes_up = reply.bytes_up if reply is not None else 0
    use = Use(sent, bytes_up, answer.extension is not None)
    if sent:  # so that expectations follow what images make of their encoding
      self._message_bytes += 0.05 * (bytes_up / reply.attempts - self._message_bytes)
    for name, (budget, units) in self._budgets.items():
      more = units(use) - units(expected.use)
      self._units[name] += more
      paid = more * expected.price
      self._spending[name] = budgets.correct(budget, self._spending[name], paid)
    if self._bandit is not None:
      self._observe(result, expected.arm)

  def figures(self) -> dict[str, Any]:
    """For the summary: per budget its target and the mean spent over images that could have been
    sent, the normalised threshold, what was paid under prices, and the agreement of the newest
    monitored images.
    """
    spent = {
      name: {
        "target": self._budgets[name].budget.target,
        "mean": state.total / max(state.num_images, 1),
        "images": state.num_images,
        "normalised_threshold": state.threshold,
        "level": state.threshold,  # the older name
      }
      for name, state in self._spending.items()
    }
    if (price := self._constraints.price) is not None:
      for name, state in self._spending.items():
        paid, units = state.total * price.pricing.reference, self._units[name]
        spent[name] |= {
          "mean_price": price.pricing.reference,
          "price_paid": paid,
          "price_paid_per_unit": paid / units if units else None,
        }
    arms: list[dict[str, float]] = []
    if self._bandit is not None:
      means = self._observed.total / np.maximum(self._observed.count, 1)
      arms = [
        # "level" is the older name.
        {"normalised_threshold": t, "level": t, "observed": float(n), "mean_reward": float(mean)}
        for t, n, mean in zip(self._bandit.thresholds, self._observed.count, means, strict=True)
      ]
    monitor, agreed = self._constraints.agreement, None
    if monitor is not None and self._agreements.agreed:
      agreed = monitoring.agreement(monitor, self._agreements)._asdict()
    return {"budgets": spent, "bandit": arms, "agreement": agreed}

  def _observe(self, result: Result, arm: int) -> None:
    answer, reply = result.answer, result.reply
    assert answer.compared is not None  # a bandit is refused where the policy compares nothing
    if result.fallback is not None or result.monitored:  # neither is what the arm chose
      return
    exit = answer.compared.exit
    decides = answer.extension if exit == EXTENSION else answer.main
    assert decides is not None
    uncertainty = normalised_uncertainty(
      self._point.policy, self._point.hard_classes, exit, decides
    )
    cloud = reply.answer.probability if reply is not None and reply.answer is not None else None
    own = float(answer.scores.max_prob)
    self._observed = bandits.observe(
      self._bandit, self._observed, arm, float(uncertainty), own, cloud
    )

  def _look(self, agrees: bool) -> None:
    monitor = self._constraints.agreement
    self._agreements = monitoring.record(monitor, self._agreements, agrees)
    self._looked += 1
    if self._looked % _MONITORED_PER_LOOK == 0:
      found = monitoring.agreement(monitor, self._agreements)
      if found.alarm and not self._alarmed:
        self._alarm(found)
      self._alarmed = found.alarm
