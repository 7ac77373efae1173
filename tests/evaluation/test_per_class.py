import json

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from meanet_jax.evaluation.per_class import PerClass, per_class
from meanet_jax.routing.rules import CLOUD, EXTENSION, MAIN, Route


def routed(predictions: np.ndarray, exits: np.ndarray) -> Route:
  return Route(exits.astype(np.int32), predictions.astype(np.int32), exits > 0)


def invented(seed: int, size: int, classes: int) -> tuple[np.ndarray, np.ndarray, PerClass]:
  rng = np.random.default_rng(seed)
  labels, predictions = rng.integers(classes, size=(2, size)).astype(np.int32)
  found = per_class(routed(predictions, rng.integers(3, size=size)), labels, classes)
  return labels, predictions, found


@given(seed=st.integers(0, 2**31), size=st.integers(1, 40), classes=st.integers(2, 6))
def test_the_figures_are_scikit_learns(seed, size, classes):
  labels, predictions, found = invented(seed, size, classes)
  numbers = list(range(classes))
  precision, recall, _, support = sklearn.metrics.precision_recall_fscore_support(
    labels, predictions, labels=numbers, zero_division=np.nan
  )
  np.testing.assert_allclose(found.precision, precision, rtol=1e-12)
  np.testing.assert_allclose(found.recall, recall, rtol=1e-12)
  np.testing.assert_array_equal(found.support, support)
  macro = sklearn.metrics.f1_score(labels, predictions, average="macro", zero_division=0)
  assert found.macro_f1 == pytest.approx(macro, rel=1e-12)
  present = np.unique(labels)
  mean_recall = sklearn.metrics.recall_score(
    labels, predictions, labels=present, average="macro", zero_division=0
  )
  assert found.balanced_accuracy == pytest.approx(mean_recall, rel=1e-12)


def test_balanced_accuracy_is_scikit_learns():
  labels, predictions, found = invented(3, 500, 4)
  expected = sklearn.metrics.balanced_accuracy_score(labels, predictions)
  assert found.balanced_accuracy == pytest.approx(expected, rel=1e-12)


def test_a_common_class_does_not_hide_a_rare_one():
  labels = np.array([0] * 98 + [1] * 2, np.int32)
  found = per_class(routed(np.zeros(100), np.zeros(100)), labels, 2)
  assert found.balanced_accuracy == 0.5
  assert found.recall.tolist() == [1.0, 0.0]
  assert np.isnan(found.precision[1])
  assert found.f1[1] == 0


def test_exits_are_of_the_classes_images():
  labels = np.array([0, 0, 0, 1, 1, 1], np.int32)
  exits = np.array([MAIN, MAIN, CLOUD, EXTENSION, CLOUD, CLOUD])
  found = per_class(routed(labels, exits), labels, 3)
  assert found.exits.tolist() == [[2, 0, 1], [0, 1, 2], [0, 0, 0]]


def test_json_has_null_where_nothing_is_defined():
  labels = np.array([0, 0, 1], np.int32)
  exits = np.array([MAIN, CLOUD, EXTENSION])
  found = per_class(routed(np.zeros(3), exits), labels, 3).to_json(("a", "b", "c"))
  assert json.loads(json.dumps(found, allow_nan=False)) == {
    "names": ["a", "b", "c"],
    "support": [2, 1, 0],
    "recall": [1.0, 0.0, None],
    "precision": [pytest.approx(2 / 3), None, None],
    "f1": [pytest.approx(0.8), 0.0, None],
    "fraction": {
      "main": [0.5, 0.0, None],
      "extension": [0.0, 1.0, None],
      "cloud": [0.5, 0.0, None],
    },
  }
