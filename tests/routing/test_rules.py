import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meanet_jax.routing.policies import PRESETS, Policy, Thresholds
from meanet_jax.routing.rules import CLOUD, EXTENSION, MAIN, Records, edge_route, route
from meanet_jax.routing.scores import scores
from tests.experiments import every_policy, random_records

POLICIES = every_policy()


def one_image(policy: Policy, t: Thresholds, r: Records, i: int, hard: set[int]):
  """The inference rules of the design, step by step, for one image."""

  def unsure(exit_scores, criterion: str = policy.criterion) -> float:
    return {
      "entropy": exit_scores.entropy[i],
      "max_prob": 1 - exit_scores.max_prob[i],
      "margin": 1 - exit_scores.margin[i],
      "learned": exit_scores.gain[i],
    }[criterion]

  assert r.fused is not None
  assert r.cloud_with_main is not None
  assert r.cloud_with_fused is not None

  def cloud(ran: bool):
    if policy.cloud_rule == "replace":
      return CLOUD, r.cloud.prediction[i], ran
    return CLOUD, (r.cloud_with_fused if ran else r.cloud_with_main)[i], ran

  if policy.offload == "always":
    return cloud(False)
  if policy.offload == "early" and unsure(r.main) > t.main:
    return cloud(False)
  gate = "max_prob" if policy.criterion == "learned" else policy.criterion
  in_hard_class, uncertain = int(r.main.prediction[i]) in hard, bool(unsure(r.main, gate) > t.run)
  runs = {
    "argmax": in_hard_class,
    "probability": bool(r.hard_probability[i] > t.hard),
    "argmax_uncertain": in_hard_class and uncertain,
    "uncertain": uncertain,
    "never": False,
  }[policy.hard_rule]
  exit, prediction, unsure_there, limit = MAIN, r.main.prediction[i], unsure(r.main), t.main
  if runs and policy.edge_rule == "fused":
    exit, prediction = EXTENSION, r.fused.prediction[i]
    unsure_there, limit = unsure(r.fused), t.extension
  elif runs and (policy.edge_rule == "extension" or r.extension.max_prob[i] > r.main.max_prob[i]):
    exit, prediction = EXTENSION, r.extension.prediction[i]
    unsure_there, limit = unsure(r.extension), t.extension
  if policy.offload == "late" and unsure_there > limit:
    return cloud(runs)
  return exit, prediction, runs


@pytest.mark.parametrize("policy", POLICIES, ids=str)
@settings(max_examples=3, deadline=None)
@given(data=st.data())
def test_every_policy_equals_the_rules_image_by_image(policy: Policy, data: st.DataObject):
  classes = data.draw(st.integers(2, 8))
  count = data.draw(st.integers(1, classes - 1))
  rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
  hard = np.sort(rng.choice(classes, count, replace=False))
  records = random_records(rng, 30, classes, hard)
  thresholds = Thresholds(*(np.float32(data.draw(st.floats(0, 1))) for _ in range(4)))
  result = route(policy, thresholds, records, np.isin(np.arange(classes), hard))
  for i in range(30):
    expected = one_image(policy, thresholds, records, i, set(hard.tolist()))
    assert (result.exit[i], result.prediction[i], result.ran_extension[i]) == expected


def test_main_wins_a_tie_with_the_extension():
  main = scores(np.array([[0, 2, 0]], np.float32))
  other = main._replace(prediction=np.array([2], np.int32))
  surer = other._replace(max_prob=np.nextafter(other.max_prob, np.float32(1)))
  is_hard, policy = np.array([False, True, True]), Policy("argmax", "most_confident", "never")
  for extension, exit in ((other, MAIN), (surer, EXTENSION)):
    records = Records(np.array([1], np.int32), np.ones(1, np.float32), main, extension, main)
    result = route(policy, Thresholds(0.0, 0.0, 0.5), records, is_hard)
    assert (result.exit.tolist(), result.prediction.tolist()) == ([exit], [1 + (exit != MAIN)])
    assert result.ran_extension.all()


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


@pytest.mark.parametrize(
  "policy",
  [
    *PRESETS.values(),
    Policy("uncertain", "fused", cloud_rule="fused"),
    Policy("argmax_uncertain", "fused", "late", "learned"),
  ],
  ids=str,
)
def test_numpy_and_jax_under_vmap_decide_alike(policy: Policy):
  hard = np.array([1, 2, 5])
  records = random_records(np.random.default_rng(2), 300, 7, hard)
  is_hard = np.isin(np.arange(7), hard)
  grid = Thresholds(*np.random.default_rng(3).uniform(size=(4, 20)).astype(np.float32))
  on_device = jax.tree.map(jnp.asarray, records)
  found = jax.vmap(lambda at: route(policy, at, on_device, jnp.asarray(is_hard)))(
    jax.tree.map(jnp.asarray, grid)
  )
  for point in range(20):
    expected = route(policy, Thresholds(*(t[point] for t in grid)), records, is_hard)
    for ours, theirs in zip(found, expected, strict=True):
      np.testing.assert_array_equal(np.asarray(ours[point]), theirs)


def test_records_without_fused_scores_serve_no_policy_that_fuses():
  records = random_records(np.random.default_rng(2), 9, 4, np.array([1, 2]))
  plain = records._replace(fused=None, cloud_with_main=None, cloud_with_fused=None)
  at, is_hard = Thresholds(*np.zeros(4, np.float32)), np.array([False, True, True, False])
  route(PRESETS["paper"], at, plain, is_hard)
  for policy in (PRESETS["gated"], Policy(cloud_rule="fused")):
    with pytest.raises(AssertionError, match="records without fused"):
      route(policy, at, plain, is_hard)


def test_where_images_end_if_none_is_sent():
  hard = np.array([1, 2, 5])
  records = random_records(np.random.default_rng(4), 80, 7, hard)
  is_hard, at = np.isin(np.arange(7), hard), Thresholds(*map(np.float32, (0.4, 0.3, 0.5, 0.25)))
  for policy in POLICIES:
    stays = edge_route(policy, at, records, is_hard)
    assert not np.any(stays.exit == CLOUD)
    if policy.offload != "always":  # which no threshold stops
      never = at._replace(main=np.float32(np.inf), extension=np.float32(np.inf))
      for ours, theirs in zip(stays, route(policy, never, records, is_hard), strict=True):
        np.testing.assert_array_equal(ours, theirs)
