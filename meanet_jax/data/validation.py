"""The two parts of the validation split: what selects, and what has chosen nothing."""

import numpy as np
from jaxtyping import Bool, Int

from meanet_jax.seeds import name_number


def calibration_part(
  labels: Int[np.ndarray, " n"], fraction: float, seed: int
) -> Bool[np.ndarray, " n"]:
  """The validation images that are kept away from hard-class selection and temperature fit.

  A threshold with a guarantee is chosen on them alone. Every image has probability `fraction` to be
  among them, and each class has its share of them to within one image: systematic sampling (Madow
  and Madow 1944), from a random start, of the images sorted by class and shuffled within it.

  Args:
    labels: of the validation split, in its order.
    fraction: 0 to below 1.
    seed: the data set's `split_seed`, so that runs of several seeds share the part.
  """
  rng = np.random.default_rng([seed, name_number("calibration part")])
  classes = rng.permutation(labels.max(initial=0) + 1)[labels]
  order = np.lexsort((rng.random(len(labels)), classes))
  steps = np.floor(np.arange(len(labels) + 1) * fraction + rng.random())
  part = np.zeros(len(labels), bool)
  part[order] = np.diff(steps) > 0
  return part
