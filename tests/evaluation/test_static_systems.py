"""The systems `static` and `static_cloud`, against plain loops over images."""

import dataclasses

import numpy as np
import pytest

from meanet_jax.config.constraints import Constraints
from meanet_jax.config.schema import Config
from meanet_jax.cost.device import Block, DeviceProfile
from meanet_jax.cost.energy import BlockMacs
from meanet_jax.evaluation.collect import Collected, StaticLogits
from meanet_jax.evaluation.context import Context
from meanet_jax.evaluation.points import point_columns
from meanet_jax.evaluation.records import LabelledLogits
from meanet_jax.evaluation.static_systems import static_curves
from meanet_jax.evaluation.systems import summary_entry
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.scores import softmax
from tests.experiments import random_logits

HARD = HardClasses(np.array([1, 3], np.int32), 6)
MACS = BlockMacs(1000, 5000, 100_000)
COUNT = 300


def collected(with_static: bool = True) -> Collected:
  rng = np.random.default_rng(0)
  splits, static = [], []
  for _ in range(2):
    labels, logits = random_logits(rng, COUNT, 6, HARD.numbers)
    splits.append(LabelledLogits(logits, labels))
    noise = rng.normal(size=(COUNT, 6)) * rng.choice([0.3, 2], size=(COUNT, 1))
    static.append((noise + 2 * (np.arange(6) == labels[:, None])).astype(np.float32))
  return Collected(*splits, static=StaticLogits(*static, macs=2500) if with_static else None)


def context_of(test: LabelledLogits) -> Context:
  config = Config()
  dataset = dataclasses.replace(config.dataset, num_classes=6)
  config = dataclasses.replace(config, dataset=dataset)
  return Context.of(config, MACS, HARD, test.labels)


def test_a_run_without_such_a_network_has_no_such_systems():
  found = collected(with_static=False)
  every = np.ones(COUNT, bool)
  assert static_curves(context_of(found.test), found, every, Constraints(max_offload=0.2)) == {}


def test_a_measured_main_block_counts_by_its_macs():
  block = Block(2.0, 3.0, mean_mj=1.0, p95_mj=1.5, macs=1000)
  profile = DeviceProfile("board", "measured", "2026-11-29", block, None, None, None)
  context = dataclasses.replace(context_of(collected().test), profile=profile)
  wide = context.costing(dataclasses.replace(MACS, main=2500))
  assert wide.profile.main == Block(5.0, 7.5, mean_mj=2.5, p95_mj=3.75, macs=1000)
  assert context.costing(None) is context
  assert wide.costing(wide.macs) == wide


def test_figures_are_those_of_plain_loops():
  found = collected()
  context, every = context_of(found.test), np.ones(COUNT, bool)
  curves = static_curves(context, found, every, Constraints(max_offload=0.2))
  entries = {name: summary_entry(context, curve) for name, curve in curves.items()}
  assert list(entries) == ["static", "static_cloud"]
  labels, logits = found.test.labels, found.static.test
  alone = [int(row.argmax()) == label for row, label in zip(logits, labels, strict=True)]
  assert entries["static"]["accuracy"] == pytest.approx(sum(alone) / COUNT, abs=1e-12)
  assert entries["static"]["fraction"] == {"main": 1.0, "extension": 0.0, "cloud": 0.0}
  assert entries["static"]["macs_edge"] == entries["static_cloud"]["macs_edge"] == 2500
  point = curves["static_cloud"].operating_point
  temperature, limit = np.float32(point.temperatures.main), point.thresholds.main
  assert temperature != 1
  right = sent = 0
  for row, cloud, label in zip(logits, found.test.outputs.cloud, labels, strict=True):
    goes = 1 - softmax(row / temperature).max() > limit
    sent += goes
    right += int((cloud if goes else row).argmax()) == label
  assert entries["static_cloud"]["fraction"]["cloud"] == pytest.approx(sent / COUNT)
  assert entries["static_cloud"]["accuracy"] == pytest.approx(right / COUNT)
  assert 0 < sent < COUNT
  columns = point_columns(context, curves["static_cloud"])
  assert set(columns["macs_edge"]) == {2500.0}
