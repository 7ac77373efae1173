"""Policies: the rules by name, and the numbers that they compare with."""

import dataclasses
from typing import Any, Literal, NamedTuple

import numpy as np

from meanet_jax.config.schema import Criterion, RoutingConfig
from meanet_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Policy:
  """The rules of a system, without its thresholds.

  hard_rule: for which images the extension runs. `argmax`: those for which main predicts a hard
    class. `probability`: those whose probability mass on hard classes, by main, exceeds the `hard`
    threshold. `argmax_uncertain`: those of `argmax` of which main's uncertainty exceeds the `run`
    threshold. `uncertain`: those whose uncertainty does, whatever main predicts. `never`: none.
  edge_rule: where it ran, `extension` takes the extension's answer, `most_confident` that of
    whichever of main and extension has the larger maximum probability (main wins a tie), `fused`
    that of one distribution over all classes from both (`fusion.fuse_extension`).
  offload: `early` compares main's uncertainty with its threshold before the extension runs; `late`
    that of what the edge answers with the threshold of the exit it comes from; `never` and `always`
    compare nothing.
  criterion: what uncertainty means; `learned` with `offload` `late` or `never` alone, and without
    `most_confident`, so that the exit that answers is the last one that ran.
  cloud_rule: `replace` takes the cloud's answer, `fused` that of cloud and edge together
    (`fusion.fuse_cloud`).

  Raises:
    UserError: `learned` with other rules.
  """

  hard_rule: Literal["argmax", "probability", "argmax_uncertain", "uncertain", "never"] = "argmax"
  edge_rule: Literal["extension", "most_confident", "fused"] = "extension"
  offload: Literal["early", "late", "never", "always"] = "early"
  criterion: Criterion = "entropy"
  cloud_rule: Literal["replace", "fused"] = "replace"

  def __post_init__(self):
    late = self.offload in ("late", "never") and self.edge_rule != "most_confident"
    if self.criterion == "learned" and not late:
      raise UserError(
        f"criterion 'learned' stands with offload {self.offload!r} and edge_rule "
        f"{self.edge_rule!r}; expected offload 'late' and edge_rule 'extension' or 'fused'"
      )

  @property
  def learns(self) -> bool:
    """Whether images are sent by a regression that has to be fitted."""
    return self.criterion == "learned" and self.offload == "late"

  @property
  def run_criterion(self) -> Criterion:
    """What a gate's uncertainty means: `learned` says nothing about running the extension."""
    return "max_prob" if self.criterion == "learned" else self.criterion

  @property
  def fuses(self) -> bool:
    """Whether an answer comes from the distributions of several exits."""
    return "fused" in (self.edge_rule, self.cloud_rule)


PRESETS = {
  "paper": Policy(),
  "paper_imagenet": Policy(edge_rule="most_confident"),
  "abstract": Policy(hard_rule="probability", offload="late"),
  "late": Policy(offload="late", criterion="max_prob"),
  "gated": Policy("argmax_uncertain", "fused", "late", "max_prob"),
  "uncertain": Policy("uncertain", "fused", "late", "max_prob"),
}


def configured_policy(routing: RoutingConfig) -> Policy:
  """The preset that is configured, or the policy of the fields beside it.

  The latter with `auto` too: without images to select on there is no other.
  """
  names = [field.name for field in dataclasses.fields(Policy)]
  fields = Policy(**{name: getattr(routing, name) for name in names})
  return PRESETS.get(routing.policy, fields)


class Thresholds(NamedTuple):
  """Scalars (or, in a sweep, arrays): what exceeds them is sent, or runs its extension.

  main, extension: uncertainty per exit, in the criterion's unit, above which an image is sent. With
  `edge_rule` `fused` the extension's is that of the fused distribution. hard: probability mass, for
  `probability`. run: main's uncertainty, for `argmax_uncertain` and `uncertain`.
  """

  main: Any
  extension: Any
  hard: Any
  run: Any = np.float32(np.nan)


def fixed_thresholds(hard: Any = np.nan, run: Any = np.nan) -> Thresholds:
  """Those that say for which images the extension runs; none that an image is sent by."""
  return Thresholds(*map(np.float32, (np.nan, np.nan, hard, run)))


def compared_thresholds(policy: Policy) -> frozenset[str]:
  """The names of the thresholds that a policy compares something with."""
  used = {
    "main": policy.offload in ("early", "late"),
    "extension": policy.offload == "late",
    "hard": policy.hard_rule == "probability",
    "run": policy.hard_rule in ("argmax_uncertain", "uncertain"),
  }
  return frozenset(name for name, is_used in used.items() if is_used)
