"""The images of hard classes in a split."""

import numpy as np
from jaxtyping import Int

from meanet_jax.data.splits import Split
from meanet_jax.errors import UserError


def hard_images(
  split: Split, to_hard: Int[np.ndarray, " c"], name: str
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
  """Numbers of a split's images of hard classes, and their labels 0 .. K - 1.

  Args:
    split: under its own labels.
    to_hard: the label map of the hard classes.
    name: of the split.

  Raises:
    UserError: there are none.
  """
  labels = to_hard[split.labels]
  chosen = np.flatnonzero(labels >= 0)
  if not len(chosen):
    raise UserError(f"the {name} split has no image of a hard class; accepted: at least 1")
  return chosen, labels[chosen]
