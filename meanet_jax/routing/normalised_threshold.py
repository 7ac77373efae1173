"""One number for the thresholds of both exits: their level.

The level is a share of each exit's largest uncertainty, as in the sweep's grid: main's and the
extension's thresholds move together, each over its own range. So what moves thresholds online goes
over the operating points that evaluation reports, and needs nothing that edge.json does not hold.
An image has a level of its own, that of the exit which decides about it; it is sent when its level
is larger.
"""

from typing import Any

import numpy as np

from meanet_jax.annotations import Shaped
from meanet_jax.config.schema import Criterion
from meanet_jax.errors import UserError
from meanet_jax.routing.policies import Policy, Thresholds
from meanet_jax.routing.scores import Scores, largest_uncertainty, uncertainty

# Above every image's level, despite rounding to float32. Below 0 every image is sent.
NOTHING_SENT = 1 + 1e-5


def thresholds_at(
  level: Any, criterion: Criterion, num_classes: int, num_hard: int, hard: float
) -> Thresholds:
  """The thresholds at a level: float32 scalars, or arrays [t] for an array of levels.

  Args:
    level: from 0 (nearly everything is sent) to `NOTHING_SENT`.
    criterion, num_classes, num_hard: give each exit's largest uncertainty.
    hard: the `hard` threshold, which does not move.
  """
  return Thresholds(
    main=np.float32(level * largest_uncertainty(criterion, num_classes)),
    extension=np.float32(level * largest_uncertainty(criterion, num_hard)),
    hard=np.full(np.shape(level), hard, np.float32)[()],
  )


def level_of(policy: Policy, thresholds: Thresholds, num_classes: int) -> float:
  """The level at which main's threshold is the given one.

  Raises:
    UserError: a policy that compares no uncertainty.
  """
  if policy.offload not in ("early", "late"):
    raise UserError(f"offload is {policy.offload!r}; accepted: 'early' or 'late', with thresholds")
  return float(thresholds.main) / largest_uncertainty(policy.criterion, num_classes)


def image_level(
  criterion: Criterion, exit_scores: Scores, num_classes: int
) -> Shaped[Any, "*n"] | float:
  """The level of images from the scores of the exit that decides about them.

  Args:
    criterion: what uncertainty means.
    exit_scores: main's with `offload` `early`; with `late` those of the exit taken.
    num_classes: that this exit knows.
  """
  return uncertainty(criterion, exit_scores) / largest_uncertainty(criterion, num_classes)
