"""Splits that keep groups together."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meanet_jax.data.own.assign import assign_splits
from meanet_jax.errors import UserError
from tests.data.own.folders import own_config

SOURCE = Path("images.csv")
CONFIG = own_config(SOURCE, test_fraction=0.2, validation_fraction=0.25)


def assigned(labels, groups, given=None):
  labels = np.asarray(labels, np.int32)
  names = [f"class {c}" for c in range(labels.max() + 1)]
  return assign_splits(given, labels, names, CONFIG, SOURCE, np.asarray(groups).astype(str))


def test_no_group_is_in_two_splits_and_shares_are_kept():
  rng = np.random.default_rng(0)
  groups = rng.permutation(np.repeat(np.arange(60), 10))
  labels = groups % 3
  splits = assigned(labels, groups)
  for group in range(60):
    assert len(set(splits[groups == group].tolist())) == 1
  for place, share in ((1, 0.2), (2, 0.2)):
    for c in range(3):
      assert np.mean(splits[labels == c] == place) == pytest.approx(share, abs=0.051)
  np.testing.assert_array_equal(splits, assigned(labels, groups))


def test_groups_of_several_classes_and_sizes():
  rng = np.random.default_rng(1)
  groups = np.repeat(np.arange(80), rng.integers(1, 20, 80))
  labels = rng.integers(4, size=len(groups))
  splits = assigned(labels, groups)
  of_groups = {(int(group), int(split)) for group, split in zip(groups, splits, strict=True)}
  assert len(of_groups) == 80
  for place in (1, 2):
    assert np.mean(splits == place) == pytest.approx(0.2, abs=0.03)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=3, max_size=12), st.integers(0, 99))
def test_three_groups_of_a_class_are_enough(sizes, seed):
  groups = np.repeat(np.arange(len(sizes) * 2), [*sizes, *sizes[::-1]])
  labels = groups // len(sizes)
  splits = assigned(labels, groups)
  for place in range(3):
    assert set(labels[splits == place].tolist()) == {0, 1}


def test_a_class_of_too_few_groups_is_named():
  labels = np.repeat([0, 1], 40)
  groups = np.concatenate([np.arange(40), np.repeat([50, 51], 20)])
  with pytest.raises(UserError, match=r"too few groups of a class .*\(the fewest: class 1 2, "):
    assigned(labels, groups)


def test_given_splits_that_share_a_group_are_refused():
  labels, groups = [0, 1, 0, 1, 0, 1], ["a", "a", "b", "b", "c", "c"]
  splits = np.array([0, 0, 1, 1, 2, 2], np.int8)
  np.testing.assert_array_equal(assigned(labels, groups, splits), splits)
  with pytest.raises(UserError, match=r"group b of .* is in the splits validation and test;"):
    assigned(labels, ["a", "a", "b", "b", "b", "c"], splits)
