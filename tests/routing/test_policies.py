import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meanet_jax.routing.policies import (
  CLOUD,
  EXTENSION,
  MAIN,
  PRESETS,
  Policy,
  Records,
  Thresholds,
  route,
)
from meanet_jax.routing.scores import scores
from tests.experiments import random_records

POLICIES = [
  Policy(*rules)
  for rules in itertools.product(
    ("argmax", "probability", "never"),
    ("extension", "most_confident"),
    ("early", "late", "never", "always"),
    ("entropy", "max_prob", "margin"),
  )
]


def one_image(policy: Policy, t: Thresholds, r: Records, i: int, hard: set[int]):
  """The inference rules of the design, step by step, for one image."""

  def unsure(exit_scores) -> float:
    return {
      "entropy": exit_scores.entropy[i],
      "max_prob": 1 - exit_scores.max_prob[i],
      "margin": 1 - exit_scores.margin[i],
    }[policy.criterion]

  cloud = (CLOUD, r.cloud.prediction[i])
  if policy.offload == "always":
    return (*cloud, False)
  if policy.offload == "early" and unsure(r.main) > t.main:
    return (*cloud, False)
  if policy.hard_rule == "argmax":
    image_is_hard = int(r.main.prediction[i]) in hard
  elif policy.hard_rule == "probability":
    image_is_hard = r.hard_probability[i] > t.hard
  else:
    image_is_hard = False
  exit, prediction, unsure_there, limit = MAIN, r.main.prediction[i], unsure(r.main), t.main
  if image_is_hard and (
    policy.edge_rule == "extension" or r.extension.max_prob[i] > r.main.max_prob[i]
  ):
    exit, prediction = EXTENSION, r.extension.prediction[i]
    unsure_there, limit = unsure(r.extension), t.extension
  if policy.offload == "late" and unsure_there > limit:
    return (*cloud, image_is_hard)
  return exit, prediction, image_is_hard


@pytest.mark.parametrize("policy", POLICIES, ids=str)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_every_policy_equals_the_rules_image_by_image(policy: Policy, data: st.DataObject):
  classes = data.draw(st.integers(2, 8))
  count = data.draw(st.integers(1, classes - 1))
  rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
  hard = np.sort(rng.choice(classes, count, replace=False))
  records = random_records(rng, 30, classes, hard)
  thresholds = Thresholds(*(np.float32(data.draw(st.floats(0, 1))) for _ in range(3)))
  result = route(policy, thresholds, records, np.isin(np.arange(classes), hard))
  for i in range(30):
    expected = one_image(policy, thresholds, records, i, set(hard.tolist()))
    assert (result.exit[i], result.prediction[i], result.ran_extension[i]) == expected


def test_a_misrouted_easy_image_is_not_correct_through_its_raw_index():
  # Class 1 is easy; main takes it for hard class 7. The extension's best logit is number 1, which
  # is the image's raw label, but stands for hard class 8.
  hard_classes = np.array([7, 8], np.int32)
  main = scores(np.eye(10, dtype=np.float32)[[7]] * 9)
  records = Records(
    label=np.array([1], np.int32),
    hard_probability=np.array([1.0], np.float32),
    main=main,
    extension=scores(np.array([[0.0, 9.0]], np.float32), hard_classes),
    cloud=main,
  )
  is_hard = np.isin(np.arange(10), hard_classes)
  result = route(Policy(offload="never"), Thresholds(0.0, 0.0, 0.5), records, is_hard)
  assert result.exit.tolist() == [EXTENSION]
  assert result.prediction.tolist() == [8]
  assert result.prediction[0] != records.label[0]


def test_presets_are_the_papers():
  assert PRESETS["paper"] == Policy("argmax", "extension", "early", "entropy")
  assert PRESETS["paper_imagenet"] == Policy("argmax", "most_confident", "early", "entropy")
  assert PRESETS["abstract"] == Policy("probability", "extension", "late", "entropy")
