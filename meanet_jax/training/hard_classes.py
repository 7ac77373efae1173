"""The stage `hard_classes`: selection from the main block's answers on validation."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from meanet_jax.config import Config
from meanet_jax.data.splits import Dataset
from meanet_jax.data.validation import calibration_part
from meanet_jax.routing.classes import (
  class_precision,
  confusion_matrix,
  random_classes,
  select_hard_classes,
)
from meanet_jax.routing.scores import refuse_nan


def select(
  config: Config,
  dataset: Dataset,
  logits: Float[np.ndarray, "n c"],
  say: Callable[[str], None],
) -> dict[str, Any]:
  """A run's hard classes, as hard_classes.json holds them.

  Args:
    config: the run's.
    dataset: its classes' names and validation images.
    logits: the main block's, of all validation images.
    say: told of the outcome.

  Raises:
    UserError: logits that are not finite.
  """
  refuse_nan("main", logits)
  labels = dataset.validation.labels
  fraction, seed = config.evaluation.calibration_fraction, config.dataset.split_seed
  selects = ~calibration_part(len(labels), fraction, seed)
  predictions, labels = np.argmax(logits, axis=-1)[selects], labels[selects]
  confusion = confusion_matrix(labels, predictions, config.dataset.num_classes)
  precision = class_precision(confusion)
  if config.hard_classes.selection == "random":
    hard = random_classes(config.seed, len(precision), config.num_hard)
  else:
    hard = select_hard_classes(precision, config.num_hard)
  names = [dataset.class_names[c] for c in hard]
  for unseen in np.flatnonzero(np.isnan(precision)):
    say(
      f"stage hard_classes: class {dataset.class_names[unseen]} was never predicted on "
      "validation; its precision is undefined and counts as the least"
    )
  say(f"stage hard_classes: {', '.join(names)}")
  return {
    "classes": hard.tolist(),
    "names": names,
    "precision": [None if np.isnan(p) else p for p in precision.tolist()],
    "never_predicted": np.flatnonzero(np.isnan(precision)).tolist(),
    "confusion_matrix": confusion.tolist(),
    "split": "validation",
    "num_examples": len(labels),
  }
