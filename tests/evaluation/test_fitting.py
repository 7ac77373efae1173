"""What selection images fit, and that evaluation applies it."""

import dataclasses

import numpy as np
import pytest

from meanet_jax.config.constraints import Constraints
from meanet_jax.config.schema import Config, RoutingConfig
from meanet_jax.cost.energy import BlockMacs
from meanet_jax.errors import UserError
from meanet_jax.evaluation.context import Context
from meanet_jax.evaluation.fitting import Fitted, fit_policy, fits_beside_thresholds
from meanet_jax.evaluation.from_logits import Costs, SelectOptions, select
from meanet_jax.evaluation.records import LabelledLogits, make_records
from meanet_jax.evaluation.systems import System, evaluate_systems, summary_entry
from meanet_jax.models.meanet import Outputs
from meanet_jax.routing.counts import count
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.operating_point import OperatingPoint, Temperatures
from meanet_jax.routing.policies import PRESETS, Policy
from meanet_jax.routing.rules import route

HARD = HardClasses(np.array([1, 2, 5]), 6)
TEMPERATURES = Temperatures(1.5, 0.7, 2.0)
MACS = BlockMacs(1000, 5000, 100_000)
ROUTING = RoutingConfig()


def images(seed: int, count: int = 800) -> LabelledLogits:
  """Logits that see the class through noise: the extension better than main, the cloud best."""
  rng = np.random.default_rng(seed)
  labels = rng.integers(6, size=count).astype(np.int32)

  def logits(quality: float, classes: np.ndarray) -> np.ndarray:
    noise = rng.normal(size=(count, len(classes)))
    return (noise + quality * (classes == labels[:, None])).astype(np.float32)

  every = np.arange(6)
  outputs = Outputs(logits(1.5, every), logits(3, HARD.numbers), logits(4, every))
  return LabelledLogits(outputs, labels)


def test_a_policy_of_the_paper_fits_nothing():
  for name in ("paper", "paper_imagenet", "abstract", "late"):
    assert not fits_beside_thresholds(PRESETS[name])
    found = fit_policy(PRESETS[name], images(0), HARD, TEMPERATURES, RoutingConfig())
    assert found[:2] == Fitted(TEMPERATURES)[:2]
    assert np.isnan(found.run)


def test_a_gate_and_weights_are_of_the_logits_that_the_rules_look_at():
  assert fits_beside_thresholds(PRESETS["gated"])
  found = fit_policy(PRESETS["gated"], images(0), HARD, TEMPERATURES, RoutingConfig())
  other = fit_policy(PRESETS["gated"], images(0), HARD, Temperatures(), RoutingConfig())
  assert found.fusion is not None
  assert found.fusion != other.fusion
  assert found.run != other.run


@pytest.mark.parametrize("cloud_rule", ["replace", "fused"])
def test_a_gated_system_is_evaluated_at_what_was_fitted(cloud_rule):
  config = Config()
  rules = dataclasses.asdict(dataclasses.replace(PRESETS["gated"], cloud_rule=cloud_rule))
  config = dataclasses.replace(
    config,
    dataset=dataclasses.replace(config.dataset, num_classes=6),
    routing=dataclasses.replace(config.routing, run_share=0.15, **rules),
  )
  policy = Policy(**rules)
  fitted = fit_policy(policy, images(0), HARD, TEMPERATURES, config.routing)
  validation, test_images = (LabelledLogits(*images(seed)) for seed in (0, 1))
  test = make_records(*test_images, HARD, TEMPERATURES, fitted.fusion)
  context = Context.of(config, MACS, HARD, test.label)
  constraints = Constraints(max_offload=0.1)
  curves = evaluate_systems(System(policy, fitted), context, validation, test_images, constraints)
  entries = {name: summary_entry(context, curve) for name, curve in curves.items()}
  point = OperatingPoint.from_json(entries["meanet"]["operating_point"])
  assert (point.policy, point.fusion, point.thresholds.run) == (policy, fitted.fusion, fitted.run)
  counts = count(route(policy, point.thresholds, test, HARD.mask), test, HARD.mask)
  assert entries["meanet"]["accuracy"] == counts.correct / 800
  assert 0 < counts.ran_extension <= 0.2 * 800  # 15% of other images
  assert 0.05 < entries["meanet"]["fraction"]["cloud"] < 0.15
  order = [entries[name]["accuracy"] for name in ("main_only", "edge_only", "meanet", "oracle")]
  assert order == sorted(order)
  assert entries["main_cloud"]["operating_point"]["fusion"] is None
  paper = OperatingPoint.from_json(entries["paper"]["operating_point"])
  assert (paper.policy, paper.temperatures) == (PRESETS["paper"], Temperatures())
  plain = make_records(*test_images, HARD)
  counts = count(route(paper.policy, paper.thresholds, plain, HARD.mask), plain, HARD.mask)
  assert entries["paper"]["accuracy"] == counts.correct / 800
  assert entries["paper"]["fraction"]["cloud"] == counts.cloud / 800


def test_an_operating_point_from_logits_alone_has_a_gate_and_weights():
  outputs, labels = images(0)
  logits = {
    "main": outputs.main,
    "cloud": outputs.cloud,
    "extension": (outputs.extension, HARD.numbers),
  }
  options = SelectOptions(policy=PRESETS["gated"], run_share=0.1)
  costs, offloads = Costs(MACS, 192), Constraints(max_offload=0.1)
  point = select(logits, labels, costs, offloads, (logits, labels), options).operating_point
  fitted = fit_policy(
    PRESETS["gated"],
    LabelledLogits(outputs, labels),
    HARD,
    Temperatures(),
    RoutingConfig(run_share=0.1),
  )
  assert (point.fusion, point.thresholds.run) == (fitted.fusion, fitted.run)
  confident = dataclasses.replace(offloads, confidence=0.9)
  with pytest.raises(UserError, match=r"confidence 0\.9 needs images that selected nothing else"):
    select(logits, labels, costs, confident, (logits, labels), options)
