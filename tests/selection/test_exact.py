import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meanet_jax.errors import UserError
from meanet_jax.routing.policies import CLOUD, EXTENSION, MAIN, Policy, Thresholds, route
from meanet_jax.routing.scores import uncertainty
from meanet_jax.selection.exact import exact_curve, pareto_front
from tests.experiments import random_records

HARD = np.array([0, 2, 3])
IS_HARD = np.isin(np.arange(5), HARD)
RULES = [
  *itertools.product(("argmax", "probability"), ("extension", "most_confident"), ("early", "late"))
]


def records_with_ties(seed: int, size: int):
  records = random_records(np.random.default_rng(seed), size, 5, HARD)

  def rounded(exit_scores):
    return exit_scores._replace(
      entropy=np.round(exit_scores.entropy, 1), margin=np.round(exit_scores.margin, 1)
    )

  return records._replace(main=rounded(records.main), extension=rounded(records.extension))


def at(policy, records, main, extension):
  taken = route(policy, Thresholds(np.float32(main), np.float32(extension), 0.5), records, IS_HARD)
  correct = taken.prediction == records.label
  return (
    int(correct.sum()),
    int((correct & IS_HARD[records.label]).sum()),
    int((taken.exit == MAIN).sum()),
    int((taken.exit == EXTENSION).sum()),
    int((taken.exit == CLOUD).sum()),
    int(taken.ran_extension.sum()),
  )


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("criterion", ["entropy", "max_prob", "margin"])
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 40))
def test_every_distinct_operating_point_and_no_other(rules, criterion, seed, size):
  policy = Policy(*rules, criterion)
  records = records_with_ties(seed, size)
  curve = exact_curve(policy, records, IS_HARD)
  found = []
  for point, threshold in enumerate(curve.threshold):
    expected = at(policy, records, threshold, threshold)
    assert tuple(int(values[point]) for values in curve.counts) == expected
    found.append(expected)
  # A threshold between any two uncertainties, and beyond both ends.
  values = [uncertainty(criterion, s) for s in (records.main, records.extension)]
  edges = np.unique(np.concatenate(values)).astype(np.float64)
  between = np.concatenate([[-1], (edges[1:] + edges[:-1]) / 2, [99], edges])
  assert {at(policy, records, t, t) for t in between} == set(found)
  assert np.all(np.diff(curve.threshold) > 0)
  assert curve.counts.cloud[0] == size
  assert curve.counts.cloud[-1] == 0


@pytest.mark.parametrize("edge_rule", ["extension", "most_confident"])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 25))
def test_the_front_is_the_best_of_all_pairs(edge_rule, seed, size):
  policy = Policy("argmax", edge_rule, "late", "entropy")
  records = records_with_ties(seed, size)
  front = pareto_front(policy, records, IS_HARD)
  grids = [
    np.append(np.unique(s.entropy), -1).astype(np.float32)
    for s in (records.main, records.extension)
  ]
  points = [at(policy, records, *pair) for pair in itertools.product(*grids)]
  best = {}
  for correct, _, _, _, cloud, _ in points:
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
    exact_curve(Policy(offload="never"), records, IS_HARD)
  with pytest.raises(UserError, match="offload is 'early'; accepted: 'late'"):
    pareto_front(Policy(offload="early"), records, IS_HARD)
