import dataclasses

import numpy as np
import pytest

from meanet_jax.config.constraints import Constraints
from meanet_jax.config.schema import Config
from meanet_jax.cost.energy import BlockMacs
from meanet_jax.evaluation.context import Context
from meanet_jax.evaluation.records import LabelledLogits, make_records
from meanet_jax.evaluation.systems import System, evaluate_systems, summary_entry
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.policies import configured_policy
from tests.experiments import random_logits

HARD = np.array([0, 2, 3, 5, 8])
IS_HARD = np.isin(np.arange(10), HARD)
MACS = BlockMacs(1000, 5000, 100_000)


def images(seed: int) -> LabelledLogits:
  labels, outputs = random_logits(np.random.default_rng(seed), 300, 10, HARD)
  return LabelledLogits(outputs, labels)


VALIDATION, TEST_IMAGES = images(0), images(1)
TEST = make_records(*TEST_IMAGES, HardClasses(HARD, 10))


def systems(constraints: Constraints, **routing):
  config = Config()
  config = dataclasses.replace(config, routing=dataclasses.replace(config.routing, **routing))
  context = Context.of(config, MACS, HardClasses(HARD, 10), TEST.label)
  meanet = System(configured_policy(config.routing))
  found = evaluate_systems(meanet, context, VALIDATION, TEST_IMAGES, constraints)
  return {name: summary_entry(context, curve) for name, curve in found.items()}, found


@pytest.mark.parametrize("offload", ["early", "late"])
def test_random_is_the_mean_over_draws_and_oracle_the_best_there_is(offload):
  entries, curves = systems(Constraints(max_offload=0.3), offload=offload)
  share = entries["meanet"]["fraction"]["cloud"]
  random, oracle = entries["random"], entries["oracle"]
  assert random["fraction"]["cloud"] == pytest.approx(share)
  edge, cloud = entries["edge_only"]["accuracy"], entries["cloud_only"]["accuracy"]
  assert random["accuracy"] == pytest.approx((1 - share) * edge + share * cloud)
  # Drawn, not computed: routes of single images, half of them sent.
  stays = curves["edge_only"].counts
  sent = np.random.default_rng(0).uniform(size=(2000, 300)) < share
  cloud_right = TEST.cloud.prediction == TEST.label
  edge_right = edge_answers_right()
  assert edge_right.sum() == stays.correct[0]
  drawn = np.where(sent, cloud_right, edge_right).mean()
  assert random["accuracy"] == pytest.approx(drawn, abs=0.003)
  assert oracle["accuracy"] == pytest.approx((edge_right | cloud_right).mean())
  assert oracle["fraction"]["cloud"] == pytest.approx((~edge_right & cloud_right).mean())
  assert oracle["accuracy"] >= max(e["accuracy"] for e in entries.values())
  for entry in entries.values():
    assert sum(entry["fraction"].values()) == pytest.approx(1)


def edge_answers_right() -> np.ndarray:
  hard = IS_HARD[TEST.main.prediction]
  prediction = np.where(hard, TEST.extension.prediction, TEST.main.prediction)
  return prediction == TEST.label


def test_an_energy_limit_is_kept_on_validation_and_an_impossible_one_is_reported():
  entries, _ = systems(Constraints(max_energy_mj=0.05))
  assert not {"unmet", "wish_unmet"} & set(entries["meanet"])
  entries, _ = systems(Constraints(max_energy_mj=1e-9))
  unmet = entries["meanet"]["unmet"]
  assert entries["meanet"]["wish_unmet"] == unmet  # the name that earlier versions wrote
  assert unmet.startswith("no threshold keeps max-energy-mj 1e-09; the nearest has max-energy-mj ")
  assert entries["meanet"]["fraction"]["cloud"] == 0


def test_confidence_leaves_a_margin():
  plain, _ = systems(Constraints(max_offload=0.3, spend_budget=True))
  sure, _ = systems(Constraints(max_offload=0.3, confidence=0.99, spend_budget=True))
  assert sure["meanet"]["fraction"]["cloud"] < plain["meanet"]["fraction"]["cloud"]
