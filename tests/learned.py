"""Made-up weights of the criterion `learned`."""

import numpy as np

from meanet_jax.routing.learned import FEATURES, GainWeights


def some_weights(num_classes: int) -> GainWeights:
  rng = np.random.default_rng(0)

  def rows(width: int) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, rng.normal(scale=0.3, size=(3, width)).tolist()))

  return GainWeights(rows(len(FEATURES)), rows(num_classes), tuple(rng.normal(size=3).tolist()))
