"""One number for the thresholds of both exits: the normalised threshold.

It is a place between each exit's least and largest uncertainty, as in the sweep's grid: main's and
the extension's thresholds move together, each over its own range. So what moves thresholds online
goes over the operating points that evaluation reports, and needs nothing that edge.json does not
hold. An image
has a normalised uncertainty, that of the exit which decides about it; it is sent when that is
larger.
"""

from typing import Any

import numpy as np

from meanet_jax.annotations import Shaped
from meanet_jax.errors import UserError
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.operating_point import OperatingPoint
from meanet_jax.routing.policies import Policy, Thresholds
from meanet_jax.routing.rules import EXTENSION, MAIN
from meanet_jax.routing.scores import Scores, largest_uncertainty, least_uncertainty, uncertainty

# Above every image's uncertainty, despite rounding to float32. Below 0 every image is sent.
NOTHING_SENT = 1 + 1e-5


def thresholds_at(
  normalised: Any, policy: Policy, hard_classes: HardClasses, fixed: Thresholds
) -> Thresholds:
  """The thresholds at a normalised threshold: float32 scalars, or arrays [t] for an array.

  Args:
    normalised: from 0 (nearly everything is sent) to `NOTHING_SENT`.
    policy, hard_classes: give each exit's largest uncertainty.
    fixed: the thresholds that do not move: `hard` and `run`.
  """
  least = least_uncertainty(policy.criterion)
  main, extension = (uncertainty_scale(policy, hard_classes, exit) for exit in (MAIN, EXTENSION))

  def everywhere(value: Any) -> Any:
    return np.full(np.shape(normalised), value, np.float32)[()]

  return Thresholds(
    main=np.float32(least + normalised * main),
    extension=np.float32(least + normalised * extension),
    hard=everywhere(fixed.hard),
    run=everywhere(fixed.run),
  )


def normalised_threshold(point: OperatingPoint) -> float:
  """The normalised threshold at which main's threshold is that of an operating point.

  Raises:
    UserError: a policy that compares no uncertainty.
  """
  refuse_without_threshold(point.policy)
  above = float(point.thresholds.main) - least_uncertainty(point.policy.criterion)
  return above / uncertainty_scale(point.policy, point.hard_classes, MAIN)


def normalised_uncertainty(
  policy: Policy, hard_classes: HardClasses, exit: int, exit_scores: Scores
) -> Shaped[Any, "*n"] | float:
  """The normalised uncertainty of images from the scores of the exit that decides about them.

  Args:
    policy, hard_classes: of the operating point.
    exit: `MAIN` or `EXTENSION`, whose scores they are. With `offload` `early` that is main; with
      `late` the exit that answers.
    exit_scores: with `edge_rule` `fused` at `EXTENSION` those of the fused distribution.
  """
  return normalised_by(policy, hard_classes, exit, uncertainty(policy.criterion, exit_scores))


def normalised_by(policy: Policy, hard_classes: HardClasses, exit: int, unsure: Any) -> Any:
  """Uncertainties of an exit on the scale of normalised thresholds, in their own type."""
  above = unsure - least_uncertainty(policy.criterion)
  # An exit of one class is never uncertain: both are 0.
  return above / (uncertainty_scale(policy, hard_classes, exit) or 1.0)


def refuse_without_threshold(policy: Policy) -> None:
  """Refuses a policy that sends images by no threshold.

  Raises:
    UserError: naming its rule.
  """
  if policy.offload not in ("early", "late"):
    raise UserError(f"offload is {policy.offload!r}; accepted: 'early' or 'late', with thresholds")


def uncertainty_scale(policy: Policy, hard_classes: HardClasses, exit: int) -> float:
  """From an exit's least uncertainty to its largest; a fused distribution is over all classes."""
  few = exit == EXTENSION and policy.edge_rule != "fused"
  # An extension that there is none of is never uncertain, like one of a single class.
  classes = max(len(hard_classes.known), 1) if few else hard_classes.num_classes
  return largest_uncertainty(policy.criterion, classes) - least_uncertainty(policy.criterion)
