"""The gate of the extension: the uncertainty of main above which it runs."""

import numpy as np
from jaxtyping import Bool, Float

from meanet_jax.routing.policies import Policy, fixed_thresholds
from meanet_jax.routing.rules import Records, predicted_hard
from meanet_jax.routing.scores import uncertainty


def fit_run_threshold(
  policy: Policy, records: Records, is_hard: Bool[np.ndarray, " c"], share: float
) -> Float[np.ndarray, ""] | np.float32:
  """The least `run` threshold at which at most a share of the images runs the extension.

  Args:
    policy: with `hard_rule` `argmax_uncertain` or `uncertain`.
    records: of selection images, at least one.
    is_hard: [c].
    share: of all images, from 0 to 1.
  """
  open_gate = fixed_thresholds(run=-np.inf)
  can = predicted_hard(policy, open_gate, records.main, records.hard_probability, is_hard)
  unsure = np.sort(uncertainty(policy.run_criterion, records.main)[can])[::-1]
  allowed = int(share * len(records.label) + 1e-9)
  # The first that may not run any more sets the threshold; where all may, it lies below all.
  return np.float32(unsure[allowed] if allowed < len(unsure) else -1.0)
