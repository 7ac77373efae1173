"""What moves a running edge's thresholds, and what it checks by the way: budgets, bandit, audit.

The rules are pure functions of `meanet_jax/routing`; here their states are kept, and told of what
became of every image.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from meanet_jax.cost.energy import BlockMacs, image_cost
from meanet_jax.edge.manifest import EDGE, Manifest
from meanet_jax.edge.output import Result
from meanet_jax.errors import UserError
from meanet_jax.routing.normalised_threshold import (
  NOTHING_SENT,
  image_level,
  level_of,
  thresholds_at,
)
from meanet_jax.routing.online import agreement as audits
from meanet_jax.routing.online import bandit as bandits
from meanet_jax.routing.online import budget as budgets
from meanet_jax.routing.policies import EXTENSION, Thresholds

ARMS = 11  # of the bandit, evenly over all levels
_AUDITS_PER_LOOK = 10  # an exact interval takes longer than an image


class Wishes(NamedTuple):
  """What is asked of a stream; None asks nothing.

  target_offload: share of images. max_bytes: sent per image, of all images. max_energy_mj: by the
  cost model, with the bytes that were sent. bandit: the cost of offloading one image, in units of
  confidence. audit: of the edge's confident answers.
  """

  target_offload: float | None = None
  max_bytes: float | None = None
  max_energy_mj: float | None = None
  bandit: float | None = None
  audit: audits.Audit | None = None


class Cost(NamedTuple):
  """Of one image: whether it was sent, bytes up, and whether the extension ran."""

  sent: bool
  bytes_up: float
  ran_extension: bool


class _Kept(NamedTuple):
  budget: budgets.Budget
  of: Callable[[Cost], float]


class Steering:
  """Keeps budgets, or lets a bandit choose; audits. See `stream.py` for when it is told what."""

  def __init__(
    self,
    manifest: Manifest,
    wishes: Wishes,
    message_bytes: int,
    alarm: Callable[[audits.Agreement], None],
    seed: int = 0,
  ):
    """The state before the first image.

    Args:
      manifest: policy, where thresholds start, constants.
      wishes: what is asked.
      message_bytes: that one raw image sends.
      alarm: called when the agreement of audited images falls below the floor.
      seed: of the audit.

    Raises:
      UserError: wishes that cannot be kept, or not together.
    """
    self._manifest, self._wishes, self._seed, self._alarm = manifest, wishes, seed, alarm
    self._policy = manifest.policy
    self._message_bytes = float(message_bytes)  # that the next image is expected to send
    self._kept = _budgets(manifest, wishes, message_bytes)
    self._spending: dict[str, budgets.Spending] = {}
    self._bandit: bandits.Bandit | None = None
    self._expected: dict[int, tuple[Cost, int]] = {}  # by image: what was spent for, and the arm
    self._arm = 0
    if self._kept and wishes.bandit is not None:
      raise UserError("--bandit with a budget; accepted: one of them, both move the thresholds")
    if self._kept:
      level = level_of(self._policy, manifest.thresholds, len(manifest.class_names))
      self._spending = {n: budgets.start(kept.budget, level) for n, kept in self._kept.items()}
    if wishes.bandit is not None:
      level_of(self._policy, manifest.thresholds, len(manifest.class_names))  # refuses the policy
      if not 0 <= wishes.bandit <= 1:
        raise UserError(f"--bandit is {wishes.bandit:g}; accepted: a cost from 0 to 1")
      levels = (*np.linspace(0, 1, ARMS - 1).tolist(), NOTHING_SENT)
      side = self._policy.offload == "late"
      self._bandit = bandits.Bandit(levels, wishes.bandit, side_observations=side)
      self._observed = bandits.start(self._bandit)
    if wishes.audit is not None:
      audits.check_audit(wishes.audit)
    self._audited, self._looked, self._alarmed = audits.Audited(), 0, False

  def thresholds(self) -> Thresholds | None:
    """For the next image; None leaves the export's."""
    if self._spending:
      level = budgets.strictest(*self._spending.values())
    elif self._bandit is not None:
      self._arm = bandits.choose_arm(self._bandit, self._observed)
      level = self._bandit.levels[self._arm]
    else:
      return None
    manifest = self._manifest
    return thresholds_at(
      level,
      self._policy.criterion,
      len(manifest.class_names),
      len(manifest.hard_classes),
      float(manifest.thresholds.hard),
    )

  def audits(self, number: int, complex: bool) -> bool:
    """Whether an image of which the edge is sure is sent all the same."""
    audit = self._wishes.audit
    if audit is None or complex:
      return False
    return audits.is_audited(audit, self._seed, number)

  def decided(self, number: int, sent: bool, ran_extension: bool) -> None:
    """Told of every image that could have been sent, and whether its extension ran."""
    if not self._spending and self._bandit is None:
      return
    cost = Cost(sent, self._message_bytes if sent else 0.0, ran_extension)
    self._expected[number] = cost, self._arm
    for name, kept in self._kept.items():
      self._spending[name] = budgets.spend(kept.budget, self._spending[name], kept.of(cost))

  def learn(self, given: Result) -> None:
    """Told of every final answer."""
    if given.audited in ("agrees", "differs"):
      self._look(given.audited == "agrees")
    known = self._expected.pop(given.item.number, None)
    if known is None:
      return
    expected, arm = known
    answer, reply = given.answer, given.reply
    sent = reply is not None and reply.attempts > 0
    bytes_up = reply.bytes_up if reply is not None else 0
    cost = Cost(sent, bytes_up, answer.extension is not None)
    if sent:  # so that expectations follow what pictures make of their encoding
      self._message_bytes += 0.05 * (bytes_up / reply.attempts - self._message_bytes)
    for name, kept in self._kept.items():
      difference = kept.of(cost) - kept.of(expected)
      self._spending[name] = budgets.correct(kept.budget, self._spending[name], difference)
    if self._bandit is not None:
      self._observe(given, arm)

  def figures(self) -> dict[str, Any]:
    """For the summary: per budget its target and the mean spent over images that could have been
    sent, the level of the thresholds, and the agreement of the newest audited images.
    """
    spent = {
      name: {
        "target": self._kept[name].budget.target,
        "mean": state.total / max(state.num_images, 1),
        "images": state.num_images,
        "level": state.level,
      }
      for name, state in self._spending.items()
    }
    arms: list[dict[str, float]] = []
    if self._bandit is not None:
      means = self._observed.total / np.maximum(self._observed.count, 1)
      arms = [
        {"level": level, "observed": float(count), "mean_reward": float(mean)}
        for level, count, mean in zip(self._bandit.levels, self._observed.count, means, strict=True)
      ]
    audit, agreed = self._wishes.audit, None
    if audit is not None and self._audited.agreed:
      agreed = audits.agreement(audit, self._audited)._asdict()
    return {"budgets": spent, "bandit": arms, "agreement": agreed}

  def _observe(self, given: Result, arm: int) -> None:
    answer, reply = given.answer, given.reply
    assert answer.compared is not None  # a bandit is refused where the policy compares nothing
    if given.fallback is not None or given.audited:  # neither is what the arm chose
      return
    manifest = self._manifest
    at_extension = answer.compared.exit == EXTENSION
    decides = answer.extension if at_extension else answer.main
    classes = manifest.hard_classes if at_extension else manifest.class_names
    level = image_level(self._policy.criterion, decides, len(classes))
    cloud = reply.answer.probability if reply is not None and reply.answer is not None else None
    own = float(answer.scores.max_prob)
    self._observed = bandits.observe(self._bandit, self._observed, arm, float(level), own, cloud)

  def _look(self, agrees: bool) -> None:
    audit = self._wishes.audit
    self._audited = audits.record(audit, self._audited, agrees)
    self._looked += 1
    if self._looked % _AUDITS_PER_LOOK == 0:
      found = audits.agreement(audit, self._audited)
      if found.alarm and not self._alarmed:
        self._alarm(found)
      self._alarmed = found.alarm


def _budgets(manifest: Manifest, wishes: Wishes, message_bytes: int) -> dict[str, _Kept]:
  """The budgets by flag. What an image costs that the level does not send is their least target."""
  signatures = manifest.files[EDGE].signatures
  macs = BlockMacs(signatures["main"].macs, signatures["extension"].macs, manifest.cloud_macs)
  share = wishes.audit.share if wishes.audit is not None else 0.0

  def energy(cost: Cost) -> float:
    return image_cost(
      manifest.cost, macs, cost.bytes_up, 1.0, float(cost.ran_extension), float(cost.sent)
    ).energy_mj

  wanted: list[tuple[str, float | None, Callable[[Cost], float]]] = [
    ("target_offload", wishes.target_offload, lambda cost: float(cost.sent)),
    ("max_bytes_per_image", wishes.max_bytes, lambda cost: float(cost.bytes_up)),
    ("max_energy_mj", wishes.max_energy_mj, energy),
  ]
  kept = {}
  for name, target, of in wanted:
    if target is None:
      continue
    largest, unsent = of(Cost(True, message_bytes, True)), of(Cost(False, 0, True))
    least = unsent + share * (largest - unsent)
    budget = budgets.Budget(target, largest)
    budgets.check_budget(f"--{name}", budget, least)
    if name == "target_offload" and target > 1:
      raise UserError(f"--{name} is {target:g}; accepted: a share up to 1")
    kept[name] = _Kept(budget, of)
  return kept
