"""The two parts of the validation split: what selects, and what selected nothing."""

import numpy as np
from jaxtyping import Bool

from meanet_jax.config.schema import Config
from meanet_jax.seeds import name_number


def calibration_part(num_images: int, fraction: float, seed: int) -> Bool[np.ndarray, " n"]:
  """The validation images that are kept away from hard-class selection and temperature fit.

  A threshold with a guarantee is selected on them alone. They are drawn without a look at their
  labels: class shares kept alike in both parts would tie the parts to each other. A class that is
  rare in the one by chance, and looks imprecise for it, would be rare in the other as well.

  Args:
    num_images: n, of the validation split.
    fraction: 0 to below 1; above 0 there is at least one image.
    seed: the data set's `split_seed`, so that runs of several seeds share the part.
  """
  rng = np.random.default_rng([seed, name_number("calibration part")])
  size = max(round(fraction * num_images), int(fraction > 0))
  part = np.zeros(num_images, bool)
  part[rng.permutation(num_images)[:size]] = True
  return part


def run_calibration_part(config: Config, num_images: int) -> Bool[np.ndarray, " n"]:
  """The `calibration_part` of a run; the other validation images select.

  Args:
    config: the run's.
    num_images: n, of the validation split.
  """
  fraction, seed = config.evaluation.calibration_fraction, config.dataset.split_seed
  return calibration_part(num_images, fraction, seed)
