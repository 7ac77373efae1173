"""Asked, kept and realised: every limit, against the route of every test image."""

import numpy as np
import pytest
import scipy.stats

from meanet_jax.config.constraints import Constraints
from meanet_jax.cost.energy import CostModel, Shares, upload_bytes
from meanet_jax.evaluation.context import Context
from meanet_jax.evaluation.limit_report import limit_report, noise_of
from meanet_jax.evaluation.systems import System, evaluate_systems, route_selected
from meanet_jax.report.limits import limit_lines, noise_line
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.policies import PRESETS
from meanet_jax.routing.rules import CLOUD
from tests.evaluation.test_systems import HARD, MACS, TEST, TEST_IMAGES, VALIDATION, Config

LIMITS = {
  "max_offload": 0.3,
  "max_bytes": 1e6,
  "max_energy_mj": 1e3,
  "max_latency_ms": 1e3,
  "max_latency_p95_ms": 1e3,
  "min_accuracy": 0.01,
  "min_balanced_accuracy": 0.01,
  "min_class_recall": 0.0,
}


@pytest.fixture(scope="module")
def reported():
  constraints = Constraints(**LIMITS)
  context = Context.of(Config(), MACS, HardClasses(HARD, 10), TEST.label)
  curves = evaluate_systems(System(PRESETS["late"]), context, VALIDATION, TEST_IMAGES, constraints)
  return context, curves, limit_report(context, curves["meanet"], constraints)


def test_every_limit_is_reported_with_what_the_routes_of_test_images_come_to(reported):
  context, curves, report = reported
  limits, curve = report["limits"], curves["meanet"]
  assert {name: limit["asked"] for name, limit in limits.items()} == LIMITS
  taken = route_selected(curve.operating_point, curve.records)
  right, sent = taken.prediction == TEST.label, taken.exit == CLOUD
  recalls = [right[TEST.label == k].mean() for k in range(10)]
  cost, size = context.config.cost, upload_bytes(context.config.cost, context.config.dataset)
  ran = taken.ran_extension.astype(float)
  each = Shares(1.0, ran, sent.astype(float), ran * sent)
  energy = CostModel(cost, MACS, size).energy_mj(each)
  for name, expected in {
    "max_offload": sent.mean(),
    "max_bytes": size * sent.mean(),
    "max_energy_mj": energy.mean(),
    "min_accuracy": right.mean(),
    "min_balanced_accuracy": np.mean(recalls),
    "min_class_recall": min(recalls),
  }.items():
    assert limits[name]["test"] == pytest.approx(expected, rel=1e-6), name
  for limit in limits.values():
    low, high = limit["interval"]
    assert low <= limit["test"] <= high
    assert limit["kept_on_validation"]
  # No image was sent. Of n the share that may be is, before and after the extension together, below
  # the quantile of Jeffreys' distribution: it is what the energy of new images depends on.
  assert not sent.any()
  _, high = limits["max_energy_mj"]["interval"]
  share = scipy.stats.beta.ppf(0.975, 1.0, len(energy) + 1.0)
  model = CostModel(cost, MACS, size)
  upload = model.energy_mj(Shares(1.0, 0.0, 1.0, 0.0)) - model.energy_mj(Shares(1.0, 0.0, 0.0, 0.0))
  assert high - energy.mean() == pytest.approx(share * upload, rel=0.15)


def test_lines_say_what_was_asked_kept_and_realised():
  limit = {
    "asked": 0.15,
    "validation": 0.148,
    "test": 0.196,
    "interval": [0.171, 0.224],
  }
  thresholds = {"main": 0.31, "extension": None}
  noise = {
    "accuracy": 0.97,
    "fraction_cloud": 0.081,
    "highest_accuracy": 0.974,
    "highest_fraction_cloud": 0.148,
    "standard_error": 0.004,
  }
  entry = {"limits": {"max_offload": limit}, "thresholds": thresholds, "noise": noise}
  assert limit_lines(entry) == [
    "share sent: asked at most 15.0%; validation 14.8%; test 19.6% [17.1, 22.4]; "
    "threshold main 0.31"
  ]
  assert noise_line(entry) == (
    "sends 8.1% of the validation images, 97.0% accurate: within one standard error (0.4 points) "
    "of the best, which sends 14.8% (97.4%)"
  )
  assert noise_line(entry | {"noise": None}) is None
  energy = limit | {"asked": 2.0, "validation": 1.5, "test": 1.75, "interval": [1.5, 2.0]}
  (line,) = limit_lines({"limits": {"max_energy_mj": energy}, "thresholds": {}})
  assert line == "edge energy: asked at most 2 mJ; validation 1.5 mJ; test 1.75 mJ [1.5, 2]"


def test_other_rules_have_no_noise(reported):
  curves = reported[1]
  assert noise_of(curves["main_only"], Constraints(max_offload=0.3)) is None
  assert noise_of(curves["meanet"], Constraints(max_offload=0.3, spend_budget=True)) is None
  assert noise_of(curves["meanet"], Constraints(max_offload=0.3)) is not None
