import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meanet_jax.errors import UserError
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.normalised_threshold import normalised_uncertainty, thresholds_at
from meanet_jax.routing.policies import Policy, fixed_thresholds
from meanet_jax.routing.rules import CLOUD, EXTENSION, MAIN, extension_scores, route
from meanet_jax.selection.exact import exact_curve, pareto_front
from tests.experiments import random_records

HARD = np.array([0, 2, 3])
IS_HARD = np.isin(np.arange(5), HARD)
KNOWN = HardClasses(HARD, 5)
FIXED = fixed_thresholds(hard=0.5, run=0.3)
RULES = [
  *itertools.product(("argmax", "probability"), ("extension", "most_confident"), ("early", "late")),
  ("argmax", "fused", "late"),
  ("argmax_uncertain", "fused", "late"),
  ("uncertain", "extension", "early"),
]


def records_with_ties(seed: int, size: int):
  records = random_records(np.random.default_rng(seed), size, 5, HARD)

  def rounded(exit_scores):
    return exit_scores._replace(
      entropy=np.round(exit_scores.entropy, 1), margin=np.round(exit_scores.margin, 1)
    )

  return records._replace(
    main=rounded(records.main), extension=rounded(records.extension), fused=rounded(records.fused)
  )


def at(policy, records, main, extension):
  thresholds = FIXED._replace(main=np.float32(main), extension=np.float32(extension))
  taken = route(policy, thresholds, records, IS_HARD)
  correct = taken.prediction == records.label
  return (
    int(correct.sum()),
    int((correct & IS_HARD[records.label]).sum()),
    int((taken.exit == MAIN).sum()),
    int((taken.exit == EXTENSION).sum()),
    int((taken.exit == CLOUD).sum()),
    int(taken.ran_extension.sum()),
    int((taken.ran_extension & (taken.exit == CLOUD)).sum()),
  )


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("criterion", ["entropy", "max_prob", "margin"])
@pytest.mark.parametrize("cloud_rule", ["replace", "fused"])
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 40))
def test_every_distinct_operating_point_and_no_other(rules, criterion, cloud_rule, seed, size):
  policy = Policy(*rules, criterion, cloud_rule)
  records = records_with_ties(seed, size)
  curve = exact_curve(policy, records, KNOWN, FIXED)
  found = []
  for point, thresholds in enumerate(zip(curve.main, curve.extension, strict=True)):
    expected = at(policy, records, *thresholds)
    assert tuple(int(values[point]) for values in curve.counts) == expected
    found.append(expected)
  # A normalised threshold between any two uncertainties, and beyond both ends.
  side = extension_scores(policy, records)
  values = [
    np.asarray(normalised_uncertainty(policy, KNOWN, exit, of), np.float64)
    for exit, of in ((MAIN, records.main), (EXTENSION, side))
  ]
  edges = np.unique(np.concatenate(values))
  between = np.concatenate([[-1], (edges[1:] + edges[:-1]) / 2, [99]])
  apart = np.append(np.diff(edges) > 1e-6, [True, True])[np.r_[-1, : len(between) - 1]]
  grid = [thresholds_at(t, policy, KNOWN, FIXED) for t in between[apart]]
  assert {at(policy, records, t.main, t.extension) for t in grid} <= set(found)
  if apart.all():
    assert {at(policy, records, t.main, t.extension) for t in grid} == set(found)
  for column in (curve.main, curve.extension):
    assert np.all(np.diff(column) >= 0)
  assert np.all(np.diff(curve.counts.cloud) < 0)
  assert curve.counts.cloud[0] == size
  assert curve.counts.cloud[-1] == 0


@pytest.mark.parametrize("edge_rule", ["extension", "most_confident", "fused"])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 25))
def test_the_front_is_the_best_of_all_pairs(edge_rule, seed, size):
  policy = Policy("argmax", edge_rule, "late", "entropy")
  records = records_with_ties(seed, size)
  front = pareto_front(policy, records, IS_HARD, FIXED)
  grids = [
    np.append(np.unique(s.entropy), -1).astype(np.float32)
    for s in (records.main, extension_scores(policy, records))
  ]
  points = [at(policy, records, *pair) for pair in itertools.product(*grids)]
  best = {}
  for correct, _, _, _, cloud, *_ in points:
    best[cloud] = max(best.get(cloud, -1), correct)
  expected, highest = [], -1
  for cloud in sorted(best):
    if best[cloud] > highest:
      highest = best[cloud]
      expected.append((highest, cloud))
  assert list(zip(front.correct.tolist(), front.cloud.tolist(), strict=True)) == expected
  for point in range(len(front.correct)):
    found = at(policy, records, front.main[point], front.extension[point])
    assert (found[0], found[4]) == (front.correct[point], front.cloud[point])


def test_policies_without_thresholds_are_refused():
  records = records_with_ties(0, 5)
  with pytest.raises(UserError, match="offload is 'never'; accepted: 'early' or 'late'"):
    exact_curve(Policy(offload="never"), records, KNOWN, FIXED)
  with pytest.raises(UserError, match="offload is 'early'; accepted: 'late'"):
    pareto_front(Policy(offload="early"), records, IS_HARD, FIXED)
