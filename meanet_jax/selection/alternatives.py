"""Which of several alternatives to take: the one rule for thresholds, policies and systems.

Among the most accurate, the cheapest: of everything whose accuracy lies within one standard error
of the highest, what sends the fewest images; of those, what costs the edge the least energy. It is
the one-standard-error rule of Breiman, Friedman, Olshen and Stone (Classification and Regression
Trees, 1984, section 3.4.3), with "sends less" for "simpler". As there, the standard error is the
binomial one of the highest accuracy, sqrt(a (1 - a) / n), and not the smaller one of a difference
on the same images: the highest of many measured accuracies is the highest partly by chance, and
the smaller error, right for two alternatives that were fixed beforehand, would keep what chance put
ahead more often than not.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from meanet_jax.config.constraints import ROUNDING, Constraints


def standard_error(accuracy: float, num_images: int) -> float:
  """Of an accuracy on some images, as a share of them."""
  return math.sqrt(max(accuracy * (1 - accuracy), 0) / num_images)


def cheapest(
  among: Bool[np.ndarray, " t"], offload: Float[np.ndarray, " t"], energy: Float[np.ndarray, " t"]
) -> int:
  """The number of the one that sends the fewest images, then costs the least energy, then is last.

  Args:
    among: which may be taken, at least one.
    offload: shares of images.
    energy: of the edge, mean per image.
  """
  for cost in (offload, energy):
    among = among & (cost <= cost[among].min())
  return int(np.flatnonzero(among)[-1])


class Outcome(NamedTuple):
  """What a policy or a system achieves on selection images, at its selected operating point.

  accuracy, offload: shares of images. energy_mj: of the edge, mean per image. excess: how far it is
  from the limits, as in `limits.excess`; 0 if it keeps them. highest: the accuracy of its most
  accurate point that keeps them, which the selected one is within one standard error of.
  standard_error: of that accuracy.
  """

  accuracy: float
  offload: float
  energy_mj: float
  excess: float
  highest: float
  standard_error: float


def best(outcomes: Sequence[Outcome], constraints: Constraints) -> int:
  """The number of the outcome that is best under constraints; if none keeps them, of the nearest.

  Best is what `select.select` seeks in thresholds: with a penalty the largest accuracy - penalty x
  offload, with `min_accuracy` the fewest offloads, with `spend_budget` the largest accuracy, else
  the cheapest of those within one standard error of the highest accuracy that any has. Of equals
  the one of less energy is taken, then the first.
  """
  nearest = min(outcome.excess for outcome in outcomes)
  ahead = [number for number, outcome in enumerate(outcomes) if outcome.excess == nearest]
  penalty, least = constraints.offload_penalty, constraints.min_accuracy
  if penalty is None and least is None and not constraints.spend_budget:
    top = max((outcomes[number] for number in ahead), key=lambda outcome: outcome.highest)
    enough = top.highest - top.standard_error - ROUNDING
    ahead = [number for number in ahead if outcomes[number].accuracy >= enough]

  def cost(number: int) -> tuple[float, float]:
    outcome = outcomes[number]
    if penalty is not None:
      return penalty * outcome.offload - outcome.accuracy, outcome.energy_mj
    if constraints.spend_budget:
      return -outcome.accuracy, outcome.energy_mj
    return outcome.offload, outcome.energy_mj

  return min(ahead, key=cost)
