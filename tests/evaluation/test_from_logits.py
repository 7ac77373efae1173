"""An operating point from logits alone."""

import dataclasses

import numpy as np
import pytest

from meanet_jax.config.constraints import Constraints
from meanet_jax.cost.energy import BlockMacs
from meanet_jax.errors import UserError
from meanet_jax.evaluation.from_logits import Costs, SelectOptions, select
from meanet_jax.evaluation.records import make_records
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.policies import Policy
from meanet_jax.routing.rules import CLOUD, route
from tests.experiments import random_logits

HARD = np.array([0, 2, 3, 5, 8])
KNOWN = HardClasses(HARD, 10)
COSTS = Costs(BlockMacs(1000, 5000, 100_000), 192)
LABELS, OUTPUTS = random_logits(np.random.default_rng(0), 400, 10, HARD)
LOGITS = {"main": OUTPUTS.main, "cloud": OUTPUTS.cloud, "extension": (OUTPUTS.extension, HARD)}
PAIR = {"main": OUTPUTS.main, "cloud": OUTPUTS.cloud}
OFFLOADS = Constraints(max_offload=0.2, spend_budget=True)


def test_the_figures_are_those_of_the_point_on_images_that_it_did_not_see():
  found = select(LOGITS, LABELS, COSTS, OFFLOADS, options=SelectOptions(test_fraction=0.25, seed=3))
  assert found.unmet is None
  point = found.operating_point
  assert (point.policy, point.hard_classes) == (Policy(), KNOWN)
  order = np.random.default_rng(3).permutation(400)
  records = make_records(OUTPUTS, LABELS, KNOWN)
  taken = route(point.policy, point.thresholds, records, KNOWN.mask)
  right = taken.prediction == LABELS
  for figures, part in ((found.validation, order[100:]), (found.test, order[:100])):
    assert figures["num_examples"] == len(part)
    assert figures["accuracy"] == pytest.approx(right[part].mean())
    assert figures["fraction"]["cloud"] == pytest.approx((taken.exit[part] == CLOUD).mean())
    assert figures["bytes_up"] == pytest.approx(192 * (taken.exit[part] == CLOUD).mean())
    ran = taken.ran_extension[part].mean()
    assert figures["macs_edge"] == pytest.approx(1000 + 5000 * ran)
  assert 0.17 < found.validation["fraction"]["cloud"] <= 0.2


def test_a_test_part_of_its_own_selects_nothing():
  options = SelectOptions(policy=Policy(offload="late", criterion="margin"))
  plain = select(LOGITS, LABELS, COSTS, OFFLOADS, (LOGITS, LABELS), options)
  assert plain.test == plain.validation
  labels = np.zeros(400, int)
  other = select(LOGITS, LABELS, COSTS, OFFLOADS, (LOGITS, labels), options)
  assert other.operating_point.to_json() == plain.operating_point.to_json()
  assert other.validation == plain.validation
  assert other.test["accuracy"] != plain.test["accuracy"]


def test_classes_without_an_image_are_named(printed):
  without = {name: logits[LABELS != 4] for name, logits in PAIR.items()}
  select(PAIR, np.where(LABELS == 7, 6, LABELS), COSTS, OFFLOADS, (without, LABELS[LABELS != 4]))
  assert "no image of class 7 to select on" in printed()
  assert "no image of class 4 to test on" in printed()


def test_classes_that_the_split_leaves_without_an_image_are_named(printed):
  labels = np.where(np.arange(len(LABELS)) == 0, 9, np.where(LABELS == 9, 8, LABELS))
  for seed, purpose in ((0, "to select on"), (3, "to test on")):
    order = np.random.default_rng(seed).permutation(len(labels))
    is_tested = 0 in order[:200]
    assert is_tested == (purpose == "to select on")
    select(PAIR, labels, COSTS, OFFLOADS, options=SelectOptions(seed=seed))
    assert f"no image of class 9 {purpose}" in printed()


def test_the_operating_points_of_both_parts():
  found = select(LOGITS, LABELS, COSTS, OFFLOADS, options=SelectOptions(num_thresholds=11))
  points = found.points
  assert points["split"].tolist() == ["validation"] * 11 + ["test"] * 11
  for split, figures in (("validation", found.validation), ("test", found.test)):
    (row,) = np.flatnonzero(points["chosen"] & (points["split"] == split))
    assert points["accuracy"][row] == figures["accuracy"]
    assert points["fraction_cloud"][row] == figures["fraction"]["cloud"]
    assert points["energy_mj"][row] == figures["energy_mj"]
    assert points["threshold_main"][row] == found.operating_point.thresholds.main


def test_without_an_extension_it_is_the_system_of_two_exits():
  options = SelectOptions(test_fraction=0.0)
  found = select(PAIR, LABELS.tolist(), COSTS, Constraints(min_accuracy=0.5), options=options)
  assert found.operating_point.policy == Policy(hard_rule="never")
  assert found.validation["fraction"]["extension"] == 0
  assert found.validation["macs_edge"] == 1000
  assert found.test is None
  assert found.operating_point.hard_classes == HardClasses(np.zeros(0, np.int32), 10)
  assert found.validation["hard_accuracy"] is found.validation["easy_accuracy"] is None
  # The same as beside an extension that the policy never runs.
  never = dataclasses.replace(options, policy=Policy(hard_rule="never"))
  beside = select(LOGITS, LABELS, COSTS, Constraints(min_accuracy=0.5), options=never)
  assert beside.operating_point.thresholds.main == found.operating_point.thresholds.main


@pytest.mark.parametrize("criterion", ["entropy", "max_prob", "margin"])
@pytest.mark.parametrize("cloud_rule", ["replace", "fused"])
def test_without_an_extension_every_policy_of_two_exits_selects(cloud_rule, criterion):
  policy = Policy("never", "fused", "late", criterion, cloud_rule)
  found, beside = (
    select(logits, LABELS, COSTS, OFFLOADS, options=SelectOptions(policy=policy))
    for logits in (PAIR, LOGITS)
  )
  assert found.operating_point.thresholds == beside.operating_point.thresholds
  assert found.test["fraction"] == beside.test["fraction"]
  if cloud_rule == "replace":
    assert found.test["accuracy"] == beside.test["accuracy"]
    return
  assert found.operating_point.fusion.edge == 0.5  # of which nothing is known
  records = found.curve.records
  np.testing.assert_array_equal(records.cloud_with_fused, records.cloud_with_main)


def test_constraints_that_nothing_keeps_are_reported_and_a_confidence_is_kept():
  found = select(LOGITS, LABELS, COSTS, Constraints(max_energy_mj=1e-9))
  assert found.unmet.startswith("no threshold keeps max-energy-mj 1e-09; the nearest has")
  sure = select(LOGITS, LABELS, COSTS, dataclasses.replace(OFFLOADS, confidence=0.95))
  plain = select(LOGITS, LABELS, COSTS, OFFLOADS)
  assert sure.validation["fraction"]["cloud"] < plain.validation["fraction"]["cloud"]


def test_what_was_asked_and_kept_and_what_is_within_the_noise():
  constraints = Constraints(max_offload=0.4, max_latency_p95_ms=1e3)
  found = select(LOGITS, LABELS, COSTS, constraints)
  (share, late), noise = found.limits.values(), found.noise
  assert share["asked"] == 0.4
  assert share["validation"] == found.validation["fraction"]["cloud"] == noise["fraction_cloud"]
  assert share["test"] == found.test["fraction"]["cloud"]
  assert share["interval"][0] <= share["test"] < share["interval"][1]
  assert late["kept_on_validation"] is late["kept_on_test"] is True
  assert noise["accuracy"] == found.validation["accuracy"]
  assert noise["highest_accuracy"] - noise["standard_error"] <= noise["accuracy"] + 1e-12
  assert noise["fraction_cloud"] <= noise["highest_fraction_cloud"] <= 0.4
  spent = select(LOGITS, LABELS, COSTS, dataclasses.replace(constraints, spend_budget=True))
  assert spent.noise is None
  assert spent.validation["fraction"]["cloud"] >= noise["highest_fraction_cloud"]
  alone = select(LOGITS, LABELS, COSTS, constraints, options=SelectOptions(test_fraction=0.0))
  assert set(alone.limits["max_offload"]) == {"asked", "validation", "kept_on_validation"}


def changed(values: np.ndarray, value: float) -> np.ndarray:
  copy = values.copy()
  copy.flat[7] = value
  return copy


@pytest.mark.parametrize(
  ("logits", "labels", "message"),
  [
    ({"main": OUTPUTS.main}, LABELS, "logits of exit cloud are missing; accepted: an array"),
    (PAIR | {"edge": OUTPUTS.main}, LABELS, "have exit 'edge'; accepted: main, extension, cloud"),
    (PAIR | {"cloud": OUTPUTS.cloud[1:]}, LABELS, r"cloud are \(399, 10\); accepted: \(400, 10\)"),
    (PAIR | {"main": OUTPUTS.main[0]}, LABELS, r"main are float32 \(10,\); accepted: floats \[n"),
    (PAIR | {"main": OUTPUTS.main.astype(int)}, LABELS, r"main are int64 \(400, 10\); accepted: f"),
    (PAIR | {"main": changed(OUTPUTS.main, np.nan)}, LABELS, "main has NaN or infinite logits"),
    (PAIR | {"cloud": changed(OUTPUTS.cloud, np.inf)}, LABELS, "cloud has NaN or infinite logits"),
    ({exit: values[:0] for exit, values in PAIR.items()}, LABELS[:0], "are of no image; accepted"),
    (PAIR | {"extension": OUTPUTS.extension}, LABELS, r"is no pair; accepted: \(logits \[n, k\]"),
    (PAIR | {"extension": (OUTPUTS.extension, HARD[1:])}, LABELS, r"accepted: \(400, 4\), a row"),
    (
      PAIR | {"extension": (OUTPUTS.extension, HARD + 3)},
      LABELS,
      "extension: hard_classes is .* from 0 to 9",
    ),
    (PAIR | {"extension": (OUTPUTS.extension, HARD * 1.0)}, LABELS, r"accepted: integers \[k\]"),
    (PAIR | {"extension": (OUTPUTS.extension[:, :0], HARD[:0])}, LABELS, r"int64 \(0,\); accepted"),
    (PAIR, LABELS[1:], r"labels are int32 \(399,\); accepted: integers \(400,\)"),
    (PAIR, LABELS.astype(float), r"labels are float64 \(400,\); accepted: integers"),
    (PAIR | {"main": np.full((400, 10), 1e300)}, LABELS, "main has NaN or infinite logits"),
    (PAIR, changed(LABELS, 10), "labels have 10; accepted: 0 to 9"),
    (PAIR, LABELS + 1, "labels are 1 to 10; accepted: 0 to 9; subtract 1"),
    (PAIR, changed(LABELS, -1), "labels have -1; accepted: 0 to 9"),
    ({exit: values[:1] for exit, values in PAIR.items()}, LABELS[:1], None),
  ],
)
def test_wrong_inputs_are_refused_in_one_line(logits, labels, message):
  if message is None:  # a single image selects, and nothing is left to test on
    assert select(logits, labels, COSTS, OFFLOADS).test is None
    return
  with pytest.raises(UserError, match=message) as caught:
    select(logits, labels, COSTS, OFFLOADS)
  assert "\n" not in str(caught.value)


def test_wrong_settings_are_refused():
  for options, message in (
    (SelectOptions(policy=Policy()), "hard_rule is 'argmax', and exit extension has no logits"),
    (SelectOptions(test_fraction=1.0), "test_fraction is 1; accepted: 0 to below 1"),
    (SelectOptions(test_fraction=0.9999), "leaves none of 400 images to select on"),
    (SelectOptions(num_thresholds=1), "num_thresholds is 1; accepted: at least 2"),
  ):
    with pytest.raises(UserError, match=message):
      select(PAIR, LABELS, COSTS, OFFLOADS, options=options)
  with pytest.raises(UserError, match="image_bytes is 0; accepted: at least 1"):
    select(PAIR, LABELS, dataclasses.replace(COSTS, image_bytes=0), OFFLOADS)
  words = (
    "the test part has 10 classes, extension 0, 2, 3, 5, 8; accepted: 10 classes, extension none"
  )
  with pytest.raises(UserError, match=words):
    select(PAIR, LABELS, COSTS, OFFLOADS, (LOGITS, LABELS))
