"""The baselines against loops over images, and random offloading against real draws."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meanet_jax.routing.counts import Counts, count
from meanet_jax.routing.policies import PRESETS, Policy, Thresholds, fixed_thresholds
from meanet_jax.routing.rules import CLOUD, EXTENSION, MAIN, route
from meanet_jax.selection.baselines import (
  CLOUD_ONLY,
  MAIN_ONLY,
  edge_only,
  main_cloud,
  oracle_route,
  policy_baselines,
  random_counts,
  send,
)
from tests.experiments import random_records

HARD = np.array([1, 2, 5])
IS_HARD = np.isin(np.arange(7), HARD)
RECORDS = random_records(np.random.default_rng(4), 211, 7, HARD)
AT = Thresholds(*map(np.float32, (0.4, 0.3, 0.5, 0.25)))
FIXED = fixed_thresholds(AT.hard, AT.run)
MEANETS = [
  *PRESETS.values(),
  Policy(edge_rule="most_confident", offload="late", criterion="margin"),
]


def edge_of(meanet: Policy, image: int) -> tuple[int, int, bool]:
  """Exit, answer and whether the extension ran, when the image stays; one image, plain Python."""
  main, extension = RECORDS.main, RECORDS.extension
  if meanet.hard_rule == "probability":
    hard = RECORDS.hard_probability[image] > AT.hard
  else:
    hard = int(main.prediction[image]) in HARD
  unsure = 1 - main.max_prob[image] > AT.run
  if meanet.hard_rule == "argmax_uncertain":
    hard = hard and unsure
  if meanet.hard_rule == "uncertain":
    hard = unsure
  if meanet.edge_rule == "fused":
    assert RECORDS.fused is not None
    answer = RECORDS.fused if hard else main
    return EXTENSION if hard else MAIN, int(answer.prediction[image]), bool(hard)
  surer = extension.max_prob[image] > main.max_prob[image]
  if hard and (meanet.edge_rule == "extension" or surer):
    return EXTENSION, int(extension.prediction[image]), True
  return MAIN, int(main.prediction[image]), bool(hard)


@pytest.mark.parametrize("meanet", MEANETS, ids=str)
def test_baselines_that_are_policies(meanet):
  images = range(len(RECORDS.label))
  expected = {
    "main_only": [(MAIN, RECORDS.main.prediction[i], False) for i in images],
    "edge_only": [edge_of(meanet, i) for i in images],
    "cloud_only": [(CLOUD, RECORDS.cloud.prediction[i], False) for i in images],
    "main_cloud": [],
  }
  for i in images:
    unsure = {
      "entropy": RECORDS.main.entropy[i],
      "max_prob": 1 - RECORDS.main.max_prob[i],
      "margin": 1 - RECORDS.main.margin[i],
    }[meanet.criterion]
    sent = (CLOUD, RECORDS.cloud.prediction[i], False)
    expected["main_cloud"].append(
      sent if unsure > AT.main else (MAIN, RECORDS.main.prediction[i], False)
    )
  found = policy_baselines(meanet)
  assert list(found) == list(expected)
  for name, policy in found.items():
    assert list(zip(*route(policy, AT, RECORDS, IS_HARD), strict=True)) == expected[name], name


def test_baselines_are_frozen_values():
  meanet = PRESETS["abstract"]
  assert len({MAIN_ONLY, CLOUD_ONLY, edge_only(meanet), main_cloud(meanet)}) == 4
  for value in (MAIN_ONLY, edge_only(meanet)):
    with pytest.raises(dataclasses.FrozenInstanceError):
      value.offload = "late"  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("meanet", MEANETS, ids=str)
def test_the_images_of_small_draws_are_sent(meanet):
  sent = np.random.default_rng(0).random(len(RECORDS.label), np.float32) < 0.3
  taken = send(sent, meanet, RECORDS, IS_HARD, FIXED)
  for i, goes in enumerate(sent):
    exit, prediction, ran = edge_of(meanet, i)
    if goes:
      # The extension has run before an edge asks; main asks first.
      exit, prediction, ran = (
        CLOUD,
        RECORDS.cloud.prediction[i],
        ran and meanet.offload == "late",
      )
    assert (taken.exit[i], taken.prediction[i], taken.ran_extension[i]) == (exit, prediction, ran)
  on_device = jax.tree.map(jnp.asarray, RECORDS)
  same = send(jnp.asarray(sent), meanet, on_device, jnp.asarray(IS_HARD), FIXED)
  for ours, theirs in zip(same, taken, strict=True):
    np.testing.assert_array_equal(np.asarray(ours), theirs)


@pytest.mark.parametrize("meanet", MEANETS, ids=str)
def test_draws_average_to_the_expected_counts(meanet):
  rng, rate, times = np.random.default_rng(0), 0.35, 600
  routes = (
    send(rng.random(len(RECORDS.label)) < rate, meanet, RECORDS, IS_HARD, FIXED)
    for _ in range(times)
  )
  drawn = np.array([count(taken, RECORDS, IS_HARD) for taken in routes])
  expected = np.array(random_counts(meanet, rate, RECORDS, IS_HARD, FIXED))
  error = drawn.std(axis=0, ddof=1) / np.sqrt(times)
  assert np.all(np.abs(drawn.mean(axis=0) - expected) <= 4 * error + 1e-9)
  assert expected[Counts._fields.index("cloud")] == pytest.approx(rate * len(RECORDS.label))
  # Draws do differ, or their mean would prove nothing.
  assert drawn[:, 0].std() > 1


@pytest.mark.parametrize("meanet", MEANETS, ids=str)
def test_the_oracle_sends_what_only_the_cloud_gets_right(meanet):
  taken = oracle_route(meanet, RECORDS, IS_HARD, FIXED)
  sent = 0
  for i, label in enumerate(RECORDS.label):
    exit, prediction, ran = edge_of(meanet, i)
    if prediction != label and RECORDS.cloud.prediction[i] == label:
      exit, prediction = CLOUD, label
      sent += 1
    assert (taken.exit[i], taken.prediction[i], taken.ran_extension[i]) == (exit, prediction, ran)
  assert 0 < sent < len(RECORDS.label)
