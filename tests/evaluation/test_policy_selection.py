"""The policy that validation selects, against plain loops over images and thresholds."""

import dataclasses
import math

import numpy as np
import pytest

from meanet_jax.config.constraints import Constraints
from meanet_jax.config.schema import Config, RoutingConfig
from meanet_jax.cost.energy import BlockMacs, CostModel, Shares, upload_bytes
from meanet_jax.data.calibration_part import calibration_part
from meanet_jax.errors import UserError
from meanet_jax.evaluation.context import Context
from meanet_jax.evaluation.fitting import fit_policy
from meanet_jax.evaluation.policy_selection import select_policy
from meanet_jax.evaluation.records import LabelledLogits, make_records
from meanet_jax.evaluation.study import fit_temperatures
from meanet_jax.evaluation.systems import System, evaluate_systems, summary_entry
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.normalised_threshold import NOTHING_SENT, thresholds_at
from meanet_jax.routing.operating_point import Temperatures
from meanet_jax.routing.policies import PRESETS, fixed_thresholds
from meanet_jax.routing.rules import route
from meanet_jax.selection.family import FAMILY, fitted_from
from tests.experiments import random_logits

HARD = HardClasses(np.array([1, 2, 5], np.int32), 6)
MACS = BlockMacs(1000, 5000, 100_000)
POINTS = 41
BUDGET = Constraints(max_offload=0.15, spend_budget=True)


def images(seed: int, count: int = 150) -> LabelledLogits:
  labels, outputs = random_logits(np.random.default_rng(seed), count, 6, HARD.numbers)
  return LabelledLogits(outputs, labels)


def context_of(validation: LabelledLogits, policy: str = "auto", fraction: float = 0.3) -> Context:
  config = Config()
  config = dataclasses.replace(
    config,
    dataset=dataclasses.replace(config.dataset, num_classes=6),
    routing=dataclasses.replace(config.routing, policy=policy, run_share=0.3),
    evaluation=dataclasses.replace(
      config.evaluation, num_thresholds=POINTS, calibration_fraction=fraction
    ),
  )
  return Context.of(config, MACS, HARD, validation.labels)


def plain_choice(validation: LabelledLogits, constraints: Constraints):
  """The member, and every member's accuracy: an image, a threshold and a policy at a time."""
  aside = calibration_part(len(validation.labels), 0.3, 0)
  part = validation.of(np.flatnonzero(~aside))
  count = len(part.labels)
  temperatures = fit_temperatures(*part, HARD)
  cost, size = Config().cost, upload_bytes(Config().cost, Config().dataset)
  most = constraints.max_offload
  assert most is not None

  def error(accuracy: float) -> float:
    return math.sqrt(accuracy * (1 - accuracy) / count)

  taken = {}
  for name, policy, calibrated in fitted_from(count):
    applied = temperatures if calibrated else Temperatures()
    fitted = fit_policy(policy, part, HARD, applied, RoutingConfig(run_share=0.3))
    records = make_records(*part, HARD, *fitted.of_logits)
    kept = []
    for number in range(POINTS):
      share = NOTHING_SENT * number / (POINTS - 1)
      at = thresholds_at(share, policy, HARD, fixed_thresholds(0.5, fitted.run))
      ends = route(policy, at, records, HARD.mask)
      sent = sum(int(exit) == 2 for exit in ends.exit) / count
      right = sum(int(p) == int(y) for p, y in zip(ends.prediction, part.labels, strict=True))
      ran = sum(map(int, ends.ran_extension)) / count
      energy = CostModel(cost, MACS, size).energy_mj(Shares(1.0, ran, sent, 0.0))
      if sent <= most:
        kept.append((right / count, sent, energy))
    top = max(accuracy for accuracy, _, _ in kept)
    enough = [point for point in kept if point[0] >= top - error(top) - 1e-12]
    if constraints.spend_budget:
      spent = max(sent for _, sent, _ in kept)
      enough = [point for point in kept if point[1] == spent]
    taken[name] = (*min(enough, key=lambda point: point[1:]), top)
  if constraints.spend_budget:
    best = min(taken, key=lambda name: (-taken[name][0], taken[name][2]))
  else:
    top = max(values[3] for values in taken.values())
    enough = [name for name in taken if taken[name][0] >= top - error(top) - 1e-12]
    best = min(enough, key=lambda name: taken[name][1:3])
  return best, {name: values[0] for name, values in taken.items()}


@pytest.fixture(scope="module")
def selected():
  validation = images(0)
  return select_policy(context_of(validation), validation, BUDGET)


@pytest.mark.parametrize("spend", [True, False])
def test_the_choice_equals_plain_loops(spend):
  validation = images(0)
  constraints = dataclasses.replace(BUDGET, spend_budget=spend)
  selected = select_policy(context_of(validation), validation, constraints)
  name, accuracies = plain_choice(validation, constraints)
  assert selected.name == name
  assert selected.num_examples == 105
  assert list(selected.members) == [member.name for member in fitted_from(105)]
  for member, accuracy in accuracies.items():
    assert selected.members[member]["accuracy"] == pytest.approx(accuracy, abs=1e-12)
  assert selected.system.policy == next(m.policy for m in FAMILY if m.name == name)


@pytest.mark.parametrize(
  "constraints",
  [
    BUDGET,
    Constraints(max_energy_mj=0.05, spend_budget=True),
    Constraints(max_offload=0.3, confidence=0.9, spend_budget=True),
  ],
)
@pytest.mark.parametrize("seed", [1, 2])
def test_no_member_that_keeps_the_constraints_is_more_accurate(seed, constraints):
  validation = images(seed)
  found = select_policy(context_of(validation), validation, constraints)
  taken = found.members[found.name]
  kept = [entry for entry in found.members.values() if entry["unmet"] is None]
  assert taken in kept
  assert all(taken["accuracy"] >= entry["accuracy"] for entry in kept)
  assert len({entry["accuracy"] for entry in kept}) > 3


def test_images_that_carry_a_guarantee_take_no_part(selected):
  validation = images(0)
  aside = calibration_part(150, 0.3, 0)
  confident = dataclasses.replace(BUDGET, confidence=0.9)
  other = images(7)
  spoilt = LabelledLogits(
    type(other.outputs)(
      *(np.where(aside[:, None], b, a) for a, b in zip(validation.outputs, other.outputs))
    ),
    np.where(aside, (validation.labels + 1) % 6, validation.labels).astype(np.int32),
  )
  for of in (validation, spoilt):
    assert select_policy(context_of(of), of, confident) == selected
  # The same change among the images that select is noticed.
  turned = validation._replace(labels=np.where(aside, validation.labels, 0).astype(np.int32))
  found = select_policy(context_of(turned), turned, confident)
  assert found.members != selected.members


def test_constraints_that_no_member_keeps_give_the_nearest():
  validation = images(3)
  found = select_policy(context_of(validation), validation, Constraints(min_accuracy=1.0))
  assert {entry["unmet"] is None for entry in found.members.values()} == {False}
  accuracies = {name: entry["accuracy"] for name, entry in found.members.items()}
  assert accuracies[found.name] == max(accuracies.values())


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_preset_by_name_is_taken_whatever_stands_beside_it(name):
  validation = images(0)
  found = select_policy(context_of(validation, name), validation, BUDGET)
  assert (found.name, found.system.policy, found.members) == (name, PRESETS[name], {})
  assert found.system.fitted.temperatures == Temperatures()  # routing.calibrate is off
  assert found.temperatures != Temperatures()


def test_paper_is_beside_whatever_meanet_is(selected):
  validation, test = images(0), images(4)
  context = context_of(test)

  def entries(meanet: System):
    curves = evaluate_systems(meanet, context, validation, test, BUDGET)
    return {name: summary_entry(context, curve) for name, curve in curves.items()}

  configured = select_policy(context_of(validation, "configured"), validation, BUDGET).system
  papers, others = entries(configured), entries(selected.system)
  assert papers["meanet"] == papers["paper"] == others["paper"]
  assert others["meanet"] != others["paper"]
  assert others["main_cloud"] != papers["main_cloud"]


def test_no_image_to_select_on_is_refused():
  validation = images(0, 1)
  with pytest.raises(UserError, match=r"no validation image is left to select a policy on"):
    select_policy(context_of(validation), validation, BUDGET)
