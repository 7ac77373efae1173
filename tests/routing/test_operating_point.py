import dataclasses
import json
import re

import numpy as np
import pytest

from meanet_jax.errors import UserError
from meanet_jax.routing.fusion import FusionWeights
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.operating_point import OperatingPoint, Temperatures
from meanet_jax.routing.policies import PRESETS, Policy, Thresholds, compared_thresholds
from tests.experiments import every_policy
from tests.learned import some_weights

HARD = HardClasses(np.array([1, 3]), 5)
POLICIES = every_policy()


def point(policy: Policy) -> OperatingPoint:
  """Its thresholds are numbers that float32 rounds, where the policy compares with them."""
  compared = compared_thresholds(policy)
  values = {name: 0.1 if name in compared else np.nan for name in Thresholds._fields}
  fusion = FusionWeights(0.6, 0.75) if policy.fuses else None
  gain = some_weights(5) if policy.learns else None
  temperatures = Temperatures(1.5, 0.7, 2.0)
  return OperatingPoint(policy, Thresholds(**values), temperatures, HARD, fusion, gain)


def test_json_gives_the_same_operating_point():
  for policy in POLICIES:
    written = point(policy)
    text = json.dumps(written.to_json(), allow_nan=False)
    read = OperatingPoint.from_json(json.loads(text))
    assert read == written
    assert read.to_json() == written.to_json()
    assert (read.policy, read.temperatures) == (written.policy, written.temperatures)
    assert (read.hard_classes, read.fusion) == (written.hard_classes, written.fusion)
    assert read.gain == written.gain
    for found, expected in zip(read.thresholds, written.thresholds, strict=True):
      assert found.dtype == np.float32
      np.testing.assert_array_equal(found, expected)


def test_the_extensions_classes_are_kept():
  every = HardClasses(HARD.numbers, 5, "all")
  made = dataclasses.replace(point(Policy()), hard_classes=every)
  written = json.loads(json.dumps(made.to_json()))
  assert OperatingPoint.from_json(written).hard_classes == every != HARD
  with pytest.raises(UserError, match=r"^extension_classes is 'some'; expected 'hard' or 'all'"):
    OperatingPoint.from_json(written | {"extension_classes": "some"})
  del written["extension_classes"]
  assert OperatingPoint.from_json(written).hard_classes == HARD  # of an earlier version


def test_without_hard_classes_no_extension_runs():
  never = Policy(hard_rule="never")
  written = point(never).to_json() | {"hard_classes": []}
  read = OperatingPoint.from_json(written)
  assert (read.to_json(), len(read.hard_classes)) == (written, 0)
  for policy in POLICIES:
    if policy.hard_rule != "never":
      with pytest.raises(
        UserError, match=r"^hard_classes is \[\] with 5 classes; expected at least"
      ):
        OperatingPoint.from_json(point(policy).to_json() | {"hard_classes": []})


@pytest.mark.parametrize("policy", PRESETS.values(), ids=PRESETS)
def test_a_threshold_without_a_use_is_null(policy: Policy):
  every = Thresholds(*(0.25 for _ in Thresholds._fields))
  made = OperatingPoint(policy, every, Temperatures(), HARD, FusionWeights())
  written = made.to_json()["thresholds"]
  compared = compared_thresholds(policy)
  assert written == {name: 0.25 if name in compared else None for name in Thresholds._fields}


@pytest.mark.parametrize("policy", [Policy(edge_rule="fused"), Policy(cloud_rule="fused")])
def test_a_policy_that_fuses_needs_weights(policy: Policy):
  with pytest.raises(UserError, match=r"^fusion is missing; expected weights, which Policy"):
    OperatingPoint.from_json(point(policy).to_json() | {"fusion": None})


def test_a_threshold_that_is_compared_with_and_missing_is_refused():
  for policy in POLICIES:
    for name in compared_thresholds(policy):
      source = point(policy).to_json()
      source["thresholds"][name] = None
      with pytest.raises(UserError, match=f"^thresholds.{name} is missing; expected a number"):
        OperatingPoint.from_json(source)


WRONG = {
  "object": ((), [], "operating_point is []; expected an object with policy, "),
  "policy": (("policy",), "paper", "policy is 'paper'; expected an object with hard_"),
  "rule": (
    ("policy", "offload"),
    "edge",
    "field 'policy.offload' is 'edge'; accepted: early, late, never, always",
  ),
  "rule of another type": (("policy", "criterion"), None, "field 'policy.criterion' is None"),
  "unhashable rule": (("policy", "criterion"), [], "field 'policy.criterion' is []; accepted: "),
  "unknown rule": (
    ("policy", "rule"),
    "x",
    "field 'policy.rule' is unknown; did you mean 'hard_rule'? expected hard_rule, ",
  ),
  "threshold": (
    ("thresholds", "main"),
    "0.5",
    "thresholds.main is '0.5'; expected a number or null",
  ),
  "logical threshold": (("thresholds", "main"), True, "thresholds.main is True; expected a number"),
  "temperature": (
    ("temperatures", "cloud"),
    0,
    "temperatures.cloud is 0; expected a number above 0",
  ),
  "endless temperature": (("temperatures", "main"), float("inf"), "temperatures.main is inf; expe"),
  "hard classes": (
    ("hard_classes",),
    [3, 1],
    "hard_classes is [3, 1] with 5 classes; expected increasing numbers",
  ),
  "hard class": (("hard_classes",), [1.5], "hard_classes is [1.5]; expected a list of class"),
  "weight": (("fusion",), {"edge": "0.5", "cloud": 1}, "fusion.edge is '0.5'; expected a weight"),
  "large weight": (("fusion",), {"edge": 0.5, "cloud": 1.5}, "fusion.cloud is 1.5; expected a wei"),
  "lone weight": (("fusion",), {"edge": 0.5}, "field 'fusion.cloud' is missing; expected edge, "),
  "classes": (("num_classes",), 0, "num_classes is 0; expected a whole number above 0"),
  "class too many": (("num_classes",), 3, "hard_classes is [1, 3] with 3 classes; expected"),
}


@pytest.mark.parametrize(("path", "value", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_field_is_named(path, value, message):
  source = point(Policy()).to_json()
  holder = source
  for key in path[:-1]:
    holder = holder[key]
  if path:
    holder[path[-1]] = value
  with pytest.raises(UserError, match=f"^{re.escape(message)}"):
    OperatingPoint.from_json(source if path else value)


@pytest.mark.parametrize("name", ["policy", "thresholds", "temperatures", "num_classes"])
def test_a_missing_field_is_named(name: str):
  source = point(Policy()).to_json()
  del source[name]
  with pytest.raises(
    UserError, match=f"^field 'operating_point.{name}' is missing; expected policy, "
  ):
    OperatingPoint.from_json(source)
