import math

import jax
import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from meanet_jax.evaluation.records import make_records
from meanet_jax.evaluation.study import (
  calibration,
  closed_form_threshold,
  fit_temperatures,
  study,
)
from meanet_jax.models.meanet import Outputs
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.operating_point import OperatingPoint, Temperatures
from meanet_jax.routing.policies import PRESETS, Thresholds
from meanet_jax.routing.rules import route
from tests.experiments import random_records

HARD = np.array([1, 3, 4])
KNOWN = HardClasses(HARD, 6)
IS_HARD = np.isin(np.arange(6), HARD)
AT = Thresholds(np.float32(0.8), np.float32(0.8), np.float32(0.5))


def at(policy: str, thresholds: Thresholds) -> OperatingPoint:
  return OperatingPoint(PRESETS[policy], thresholds, Temperatures(), KNOWN)


def test_the_study_equals_plain_counts():
  validation = random_records(np.random.default_rng(0), 80, 6, HARD)
  test = random_records(np.random.default_rng(1), 120, 6, HARD)
  taken = route(PRESETS["paper"], AT, test, IS_HARD)
  result = study(at("paper", AT), validation, test)
  pairs = list(zip(test.label.tolist(), test.main.prediction.tolist(), strict=True))
  hard = set(HARD.tolist())
  expected = {
    "easy_taken_for_hard": sum(y not in hard and p in hard for y, p in pairs),
    "hard_taken_for_easy": sum(y in hard and p not in hard for y, p in pairs),
    "easy_taken_for_another_easy": sum({y, p}.isdisjoint(hard) and y != p for y, p in pairs),
    "hard_taken_for_another_hard": sum({y, p} <= hard and y != p for y, p in pairs),
  }
  for kind, count in expected.items():
    assert result["main_errors"][kind] == pytest.approx(count / 120)
  wrong = sum(y != p for y, p in pairs) / 120
  assert sum(result["main_errors"].values()) == pytest.approx(wrong)
  assert result["accuracy"]["main"] == pytest.approx(1 - wrong)
  detected = [p in hard for _, p in pairs]
  truly = [y in hard for y, _ in pairs]
  both = sum(a and b for a, b in zip(detected, truly, strict=True))
  assert result["detection"]["precision"] == pytest.approx(both / sum(detected))
  assert result["detection"]["recall"] == pytest.approx(both / sum(truly))
  neither = sum(not (a or b) for a, b in zip(detected, truly, strict=True))
  assert result["detection"]["easy_precision"] == pytest.approx(neither / (120 - sum(detected)))
  assert result["detection"]["accuracy"] == pytest.approx((both + neither) / 120)
  for number, exit in enumerate(("main", "extension", "cloud")):
    ended = [i for i in range(120) if taken.exit[i] == number]
    right = [taken.prediction[i] == test.label[i] for i in ended]
    assert result["exits"][exit]["num_examples"] == len(ended) > 0
    assert result["exits"][exit]["accuracy"] == pytest.approx(sum(right) / len(ended))
  extension = [p == y for p, y in zip(test.extension.prediction, test.label, strict=True)]
  on_hard = [right for right, h in zip(extension, truly, strict=True) if h]
  assert result["accuracy"]["extension_on_hard"] == pytest.approx(sum(on_hard) / len(on_hard))
  edge_wrong = [
    (e if p in hard else p) != y
    for (y, p), e in zip(pairs, test.extension.prediction.tolist(), strict=True)
  ]
  auroc = sklearn.metrics.roc_auc_score(edge_wrong, test.main.entropy)
  assert result["failure_auroc"]["entropy"] == pytest.approx(auroc)
  right = np.array([y == p for y, p in pairs])
  entropy = result["entropy"]
  assert entropy["right"]["median"] == pytest.approx(np.median(test.main.entropy[right]))
  assert entropy["wrong"]["mean"] == pytest.approx(test.main.entropy[~right].mean())


def test_detection_is_that_of_the_policy():
  test = random_records(np.random.default_rng(1), 120, 6, HARD)
  result = study(at("abstract", AT), test, test)["detection"]
  judged = [p > 0.5 for p in test.hard_probability]
  assert judged != [int(p) in HARD for p in test.main.prediction]
  right = [int(y) in HARD for y, j in zip(test.label, judged, strict=True) if j]
  assert result["precision"] == pytest.approx(sum(right) / len(right))


def test_no_hard_image_in_the_test_split_is_no_accident():
  records = random_records(np.random.default_rng(1), 60, 6, HARD)
  easy = np.flatnonzero(~IS_HARD[records.label])
  test = jax.tree.map(lambda values: values[easy], records)
  # Nor is an exit where no image ends: this threshold sends every image away.
  result = study(at("paper", AT._replace(main=np.float32(-1))), records, test)
  for exit in ("main", "extension"):
    assert result["exits"][exit] == {"num_examples": 0, "accuracy": None}
  cloud = (test.cloud.prediction == test.label).mean()
  assert result["exits"]["cloud"] == {"num_examples": len(easy), "accuracy": pytest.approx(cloud)}
  assert result["accuracy"]["extension_on_hard"] is None
  assert result["detection"]["recall"] is None


def test_the_closed_form_is_the_best_of_a_fine_grid():
  rng = np.random.default_rng(0)
  right = np.arange(3000) < 2500
  entropy = np.where(right, rng.exponential(0.3, 3000), rng.normal(1.5, 0.4, 3000))
  entropy = np.maximum(entropy, 0).astype(np.float32)
  fit = closed_form_threshold(entropy, right)
  t = np.linspace(0, 6, 2_000_001)
  gain = 0.6 * (1 - np.exp(-t / fit["mu_right"])) - 0.4 * scipy.stats.norm.cdf(
    (t - fit["mu_wrong"]) / fit["sigma_wrong"]
  )
  assert fit["threshold"] == pytest.approx(t[np.argmax(gain)], abs=1e-4)
  assert fit["mu_right"] == pytest.approx(0.3, rel=0.05)
  assert closed_form_threshold(entropy, np.ones(3000, bool)) is None
  assert closed_form_threshold(entropy, np.zeros(3000, bool)) is None


def sharp_outputs(rng: np.random.Generator, labels: np.ndarray) -> Outputs:
  def logits(classes: np.ndarray) -> np.ndarray:
    noise = rng.normal(size=(len(labels), len(classes)))
    return (4 * (noise + 1.5 * (classes == labels[:, None]))).astype(np.float32)

  return Outputs(logits(np.arange(6)), logits(HARD), logits(np.arange(6)))


def test_temperatures_calibrate_without_changing_an_answer():
  rng = np.random.default_rng(0)
  labels = rng.integers(6, size=4000).astype(np.int32)
  outputs = sharp_outputs(rng, labels)
  temperatures = fit_temperatures(outputs, labels, KNOWN)
  assert all(1.5 < t < 6 for t in temperatures)
  errors = calibration(outputs, labels, KNOWN, temperatures)
  for exit, found in errors.items():
    before = found["expected_calibration_error"]
    assert found["expected_calibration_error_with_temperature"] < 0.3 * before, exit
  assert errors["extension"]["num_examples"] == np.isin(labels, HARD).sum()
  plain = make_records(outputs, labels, KNOWN)
  cooled = make_records(outputs, labels, KNOWN, temperatures)
  for name in ("main", "extension", "cloud"):
    before, after = getattr(plain, name), getattr(cooled, name)
    np.testing.assert_array_equal(before.prediction, after.prediction)
    assert after.entropy.mean() > before.entropy.mean()


def test_an_exit_without_images_keeps_its_temperature():
  outputs = sharp_outputs(np.random.default_rng(0), np.zeros(50, np.int32))
  found = fit_temperatures(outputs, np.zeros(50, np.int32), KNOWN)
  assert found.extension == Temperatures().extension == 1
  assert math.isfinite(found.main)
  errors = calibration(outputs, np.zeros(50, np.int32), KNOWN, found)
  assert errors["extension"]["num_examples"] == 0
  assert errors["extension"]["expected_calibration_error"] is None
  assert 0 <= errors["main"]["expected_calibration_error"] <= 1
