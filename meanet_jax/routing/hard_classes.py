"""Hard classes: which they are, and the maps between original and hard-class numbers."""

import dataclasses
import functools
from typing import Literal

import numpy as np

from meanet_jax.annotations import Bool, Float, Int
from meanet_jax.errors import UserError
from meanet_jax.seeds import name_number


@dataclasses.dataclass(frozen=True, eq=False)
class HardClasses:
  """The hard classes among `num_classes`, and which classes the extension has.

  numbers: int32 [k], original class numbers in increasing order; none where there is no extension.
  num_classes: C. extension: whether it has these classes alone, or all. Equal ones have equal
  hashes, so they can be static under `jit`.

  Raises:
    UserError: a class outside 0 .. C - 1, or classes that do not increase.
  """

  numbers: Int[np.ndarray, " k"]
  num_classes: int
  extension: Literal["hard", "all"] = "hard"

  def __post_init__(self):
    given = self.numbers
    found = f"hard_classes is {given.tolist()} with {self.num_classes} classes"
    if ((given < 0) | (given >= self.num_classes)).any():
      raise UserError(f"{found}; expected numbers from 0 to {self.num_classes - 1}")
    if (given[1:] <= given[:-1]).any():
      raise UserError(f"{found}; expected increasing numbers")
    object.__setattr__(self, "numbers", _read_only(given.astype(np.int32)))
    if len(given) == self.num_classes:  # one thing, so that equal ones are equal
      object.__setattr__(self, "extension", "hard")

  def __eq__(self, other: object) -> bool:
    if not isinstance(other, HardClasses):
      return NotImplemented
    same = (self.num_classes, self.extension) == (other.num_classes, other.extension)
    return same and np.array_equal(self.numbers, other.numbers)

  def __hash__(self) -> int:
    return hash((self.num_classes, self.extension, self.numbers.tobytes()))

  def __len__(self) -> int:
    return len(self.numbers)

  @functools.cached_property
  def mask(self) -> Bool[np.ndarray, " c"]:
    """True at the numbers of hard classes."""
    return _read_only(self.label_map >= 0)

  @functools.cached_property
  def label_map(self) -> Int[np.ndarray, " c"]:
    """From original class number to 0 .. K - 1, and -1 for easy classes; `numbers` maps back."""
    return _positions(self.numbers, self.num_classes)

  @functools.cached_property
  def known(self) -> Int[np.ndarray, " e"]:
    """The extension's classes: its class i is the original class `known[i]`."""
    every = np.arange(self.num_classes, dtype=np.int32)
    return self.numbers if self.extension == "hard" else _read_only(every)

  @functools.cached_property
  def known_map(self) -> Int[np.ndarray, " c"]:
    """From original class number to the extension's, and -1 for classes that it does not have."""
    return _positions(self.known, self.num_classes)


def _positions(numbers: Int[np.ndarray, " k"], num_classes: int) -> Int[np.ndarray, " c"]:
  places = np.full(num_classes, -1, np.int32)
  places[numbers] = np.arange(len(numbers), dtype=np.int32)
  return _read_only(places)


def _read_only(array: np.ndarray) -> np.ndarray:
  array.setflags(write=False)
  return array


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


@dataclasses.dataclass(frozen=True)
class Tie:
  """Classes of equal precision of which some were selected and some were not.

  precision: of each of them; None where they were never predicted.
  selected, left_out: their numbers, increasing.
  decided_by: what tells the last selected from the first left out: one of `TIE_BREAKS`.
  """

  precision: float | None
  selected: tuple[int, ...]
  left_out: tuple[int, ...]
  decided_by: str


TIE_BREAKS = ("fewer correct predictions", "lower recall", "smaller class number")


def select_hard_classes(
  confusion: Int[np.ndarray, "c c"],
  count: int,
  eligible: Bool[np.ndarray, " c"] | None = None,
) -> tuple[Int[np.ndarray, " k"], Tie | None]:
  """The `count` classes of least precision, in increasing class number.

  A class that was never predicted has no precision and counts as the least precise. Among equally
  precise classes come first those of fewer correct predictions, whose precision is known from fewer
  images; then those of lower recall; then those of smaller number.

  Args:
    confusion: counts, true classes in rows.
    count: K.
    eligible: the classes that may be selected; None for all.

  Returns:
    The classes, and the tie that decided between the last selected and others, if there was one.

  Raises:
    UserError: `count` outside 1 .. C - 1, or above the number of eligible classes.
  """
  num_classes = len(confusion)
  if not 1 <= count < num_classes:
    raise UserError(f"{count} hard classes asked for; accepted: 1 to {num_classes - 1}")
  numbers = np.arange(num_classes) if eligible is None else np.flatnonzero(eligible)
  if count > len(numbers):
    raise UserError(f"{count} hard classes asked for; accepted: 1 to {len(numbers)}, the eligible")
  correct, images = np.diagonal(confusion)[numbers], confusion.sum(axis=1)[numbers]
  precision = np.nan_to_num(class_precision(confusion)[numbers], nan=-1.0)
  recall = np.where(images > 0, correct / np.maximum(images, 1), -1.0)
  order = np.lexsort((numbers, recall, correct, precision))  # the last key comes first
  selected, left_out = order[:count], order[count:]
  tied = [part[precision[part] == precision[selected[-1]]] for part in (selected, left_out)]
  tie = None
  if len(tied[1]):
    last, following = tied[0][-1], tied[1][0]
    differs = (correct[last] != correct[following], recall[last] != recall[following], True)
    value = float(precision[last])
    tie = Tie(
      None if value < 0 else value,
      tuple(np.sort(numbers[tied[0]]).tolist()),
      tuple(np.sort(numbers[tied[1]]).tolist()),
      TIE_BREAKS[differs.index(True)],
    )
  return np.sort(numbers[selected]), tie


def random_classes(
  seed: int, eligible: Bool[np.ndarray, " c"], count: int
) -> Int[np.ndarray, " k"]:
  """`count` eligible classes drawn at random, in increasing number, to compare a selection with."""
  rng = np.random.default_rng([seed, name_number("random hard classes")])
  return np.sort(rng.choice(np.flatnonzero(eligible), count, replace=False))
