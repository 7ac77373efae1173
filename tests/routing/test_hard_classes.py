import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meanet_jax.errors import UserError
from meanet_jax.routing.hard_classes import (
  HardClasses,
  Tie,
  class_precision,
  confusion_matrix,
  random_classes,
  select_hard_classes,
)


def test_precision_counts_predictions_not_labels():
  labels = np.array([0, 0, 0, 1, 1, 2])
  predictions = np.array([0, 0, 1, 1, 0, 0])
  confusion = confusion_matrix(labels, predictions, 3)
  assert confusion.tolist() == [[2, 1, 0], [1, 1, 0], [1, 0, 0]]
  precision = class_precision(confusion)
  np.testing.assert_allclose(precision, [2 / 4, 1 / 2, np.nan])


def test_least_precise_first_and_never_predicted_before_all():
  # True classes in rows. Precision: 9/10, never predicted, 2/10, 6/6, 0/1.
  confusion = np.array(
    [[9, 0, 4, 0, 0], [0, 0, 4, 0, 0], [1, 0, 2, 0, 1], [0, 0, 0, 6, 0], [0, 0, 0, 0, 0]]
  )
  for count, expected in ((1, [1]), (2, [1, 4]), (3, [1, 2, 4]), (4, [0, 1, 2, 4])):
    hard, tie = select_hard_classes(confusion, count)
    assert (hard.tolist(), tie) == (expected, None)


def test_ties_go_to_fewer_correct_predictions_then_lower_recall_then_the_smaller_number():
  # Precision is 1/2 of class 0 and 1 of all others. Correct: 5, 3, 3, 3, 9 of 5, 6, 4, 4, 9.
  confusion = np.diag([1, 5, 3, 3, 3, 9]).astype(int)
  confusion[2, 0], confusion[3, 0], confusion[4, 0] = 3, 1, 1
  confusion[0, 0] = 5
  expected = {
    1: ([0], None),
    2: ([0, 2], Tie(1.0, (2,), (1, 3, 4, 5), "lower recall")),
    3: ([0, 2, 3], Tie(1.0, (2, 3), (1, 4, 5), "smaller class number")),
    4: ([0, 2, 3, 4], Tie(1.0, (2, 3, 4), (1, 5), "fewer correct predictions")),
    5: ([0, 1, 2, 3, 4], Tie(1.0, (1, 2, 3, 4), (5,), "fewer correct predictions")),
  }
  for count, (classes, tie) in expected.items():
    hard, found = select_hard_classes(confusion, count)
    assert (hard.tolist(), found) == (classes, tie)


def test_classes_that_were_never_predicted_are_tied_as_well():
  confusion = np.zeros((4, 4), int)
  confusion[:, 3] = 2
  assert select_hard_classes(confusion, 2)[1] == Tie(None, (0, 1), (2,), "smaller class number")


def test_what_is_not_eligible_is_neither_selected_nor_drawn():
  confusion = np.diag([5, 4, 0, 2])  # class 2 has no image, and no precision
  eligible = np.array([True, True, False, True])
  hard, tie = select_hard_classes(confusion, 2, eligible)
  assert hard.tolist() == [1, 3]
  assert tie is not None
  assert 2 not in (*tie.selected, *tie.left_out)
  assert random_classes(0, eligible, 3).tolist() == [0, 1, 3]
  with pytest.raises(UserError, match="3 hard classes asked for; accepted: 1 to 2, the eligible"):
    select_hard_classes(confusion, 3, np.array([True, False, False, True]))


@pytest.mark.parametrize("count", [0, 3, 4])
def test_a_count_of_none_or_all_is_refused(count):
  with pytest.raises(UserError, match=f"{count} hard classes asked for; accepted: 1 to 2"):
    select_hard_classes(np.zeros((3, 3), int), count)


@given(st.integers(2, 30), st.data())
def test_label_map_and_hard_classes_are_inverse(num_classes, data):
  chosen = data.draw(st.sets(st.integers(0, num_classes - 1), min_size=1, max_size=num_classes - 1))
  hard = HardClasses(np.array(sorted(chosen)), num_classes)
  assert hard.label_map[hard.numbers].tolist() == list(range(len(hard)))
  easy = {c for c in range(num_classes) if hard.label_map[c] == -1}
  assert easy == set(range(num_classes)) - chosen
  assert set(np.flatnonzero(hard.mask)) == chosen
  assert (hard.numbers.dtype, hard.label_map.dtype, hard.mask.dtype) == (np.int32, np.int32, bool)


def test_equal_hard_classes_are_one_static_argument():
  one, same = HardClasses(np.array([1, 3]), 5), HardClasses(np.array([1, 3], np.int64), 5)
  assert one == same
  assert len({one, same}) == 1
  others = (
    HardClasses(np.array([1, 3]), 6),
    HardClasses(np.array([1, 4]), 5),
    HardClasses(np.array([1, 3]), 5, "all"),
    "[1, 3]",
  )
  assert all(one != other for other in others)
  every = np.arange(5)
  assert HardClasses(every, 5) == HardClasses(every, 5, "all")


def test_an_extension_may_have_all_classes():
  alone, every = HardClasses(np.array([1, 3]), 5), HardClasses(np.array([1, 3]), 5, "all")
  assert every.mask.tolist() == alone.mask.tolist()
  assert every.label_map.tolist() == alone.label_map.tolist()
  assert (alone.known.tolist(), alone.known_map.tolist()) == ([1, 3], [-1, 0, -1, 1, -1])
  assert every.known.tolist() == every.known_map.tolist() == [0, 1, 2, 3, 4]


def test_there_may_be_no_hard_class():
  none = HardClasses(np.zeros(0, np.int64), 3)
  assert (len(none), none.mask.tolist(), none.label_map.tolist()) == (0, [False] * 3, [-1] * 3)
  assert (none.known.tolist(), none.known_map.tolist()) == ([], [-1] * 3)
  assert none == HardClasses(np.zeros(0, np.int32), 3) != HardClasses(np.array([0]), 3)


def test_hard_classes_cannot_be_changed_in_place():
  given = np.array([1, 3], np.int32)
  hard = HardClasses(given, 5)
  given[0] = 0
  assert hard.numbers.tolist() == [1, 3]
  for array in (hard.numbers, hard.mask, hard.label_map):
    with pytest.raises(ValueError, match="read-only"):
      array[0] = 0


@pytest.mark.parametrize(
  ("numbers", "expected"),
  [
    ([-1, 2], "numbers from 0 to 4"),
    ([1, 5], "numbers from 0 to 4"),
    ([3, 1], "increasing numbers"),
    ([1, 1], "increasing numbers"),
  ],
)
def test_wrong_hard_classes_are_refused(numbers, expected):
  found = re.escape(f"hard_classes is {numbers} with 5 classes; expected {expected}")
  with pytest.raises(UserError, match=f"^{found}$"):
    HardClasses(np.array(numbers, int), 5)
