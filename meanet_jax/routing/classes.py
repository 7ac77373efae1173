"""Hard classes: which they are, and the maps between original and hard-class numbers."""

import numpy as np

from meanet_jax.annotations import Bool, Float, Int
from meanet_jax.errors import UserError
from meanet_jax.seeds import name_number


def confusion_matrix(
  labels: Int[np.ndarray, " n"], predictions: Int[np.ndarray, " n"], num_classes: int
) -> Int[np.ndarray, "c c"]:
  """Counts with the true class in rows and the predicted class in columns."""
  flat = np.bincount(labels * num_classes + predictions, minlength=num_classes**2)
  return flat.reshape(num_classes, num_classes)


def class_precision(confusion: Int[np.ndarray, "c c"]) -> Float[np.ndarray, " c"]:
  """Correct predictions of a class / all predictions of it; NaN for a class never predicted."""
  predicted = confusion.sum(axis=0)
  correct = np.diagonal(confusion)
  return np.where(predicted > 0, correct / np.maximum(predicted, 1), np.nan)


def select_hard_classes(precision: Float[np.ndarray, " c"], count: int) -> Int[np.ndarray, " k"]:
  """The `count` classes of least precision, in increasing class number.

  A class that was never predicted has no precision and counts as the least precise. Ties go to the
  smaller class number.

  Raises:
    UserError: `count` outside 1 .. C - 1.
  """
  if not 1 <= count < len(precision):
    raise UserError(f"{count} hard classes asked for; accepted: 1 to {len(precision) - 1}")
  order = np.argsort(np.nan_to_num(precision, nan=-1.0), kind="stable")
  return np.sort(order[:count])


def random_classes(seed: int, num_classes: int, count: int) -> Int[np.ndarray, " k"]:
  """`count` classes drawn at random, in increasing class number, to compare a selection with."""
  rng = np.random.default_rng([seed, name_number("random hard classes")])
  return np.sort(rng.choice(num_classes, count, replace=False))


def label_map(hard_classes: Int[np.ndarray, " k"], num_classes: int) -> Int[np.ndarray, " c"]:
  """From original class number to 0 .. K - 1, and -1 for easy classes.

  `hard_classes` itself is the map back.
  """
  to_hard = np.full(num_classes, -1, np.int32)
  to_hard[hard_classes] = np.arange(len(hard_classes), dtype=np.int32)
  return to_hard


def is_hard(hard_classes: Int[np.ndarray, " k"], num_classes: int) -> Bool[np.ndarray, " c"]:
  """True at the numbers of hard classes."""
  return label_map(hard_classes, num_classes) >= 0
