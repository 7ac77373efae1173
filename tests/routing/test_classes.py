import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meanet_jax.errors import UserError
from meanet_jax.routing.classes import (
  class_precision,
  confusion_matrix,
  is_hard,
  label_map,
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
  precision = np.array([0.9, np.nan, 0.2, 0.9, 0.0])
  assert select_hard_classes(precision, 1).tolist() == [1]
  assert select_hard_classes(precision, 3).tolist() == [1, 2, 4]
  assert select_hard_classes(precision, 4).tolist() == [0, 1, 2, 4]  # tie: the smaller number


@pytest.mark.parametrize("count", [0, 3, 4])
def test_a_count_of_none_or_all_is_refused(count):
  with pytest.raises(UserError, match=f"{count} hard classes asked for; accepted: 1 to 2"):
    select_hard_classes(np.zeros(3), count)


@given(st.integers(2, 30), st.data())
def test_label_map_and_hard_classes_are_inverse(num_classes, data):
  chosen = data.draw(st.sets(st.integers(0, num_classes - 1), min_size=1, max_size=num_classes - 1))
  hard = np.array(sorted(chosen))
  to_hard = label_map(hard, num_classes)
  assert to_hard[hard].tolist() == list(range(len(hard)))
  assert {c for c in range(num_classes) if to_hard[c] == -1} == set(range(num_classes)) - chosen
  assert set(np.flatnonzero(is_hard(hard, num_classes))) == chosen
