import numpy as np
import pytest

from meanet_jax.selection.temperature import (
  expected_calibration_error,
  failure_auroc,
  fit_temperature,
)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_made_the_logits_is_found(temperature):
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(20_000, 5)) * 2
  p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
  labels = (p.cumsum(-1) < rng.uniform(size=(20_000, 1))).sum(-1)
  sharpened = (logits * temperature).astype(np.float32)
  assert fit_temperature(sharpened, labels) == pytest.approx(temperature, rel=0.05)


def test_calibration_error_by_hand():
  confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55], np.float32)
  correct = np.array([True, True, True, False, True, False])
  expected = (4 * abs(0.75 - 0.95) + 2 * abs(0.5 - 0.55)) / 6
  assert expected_calibration_error(confidence, correct) == pytest.approx(expected, abs=1e-6)
  assert expected_calibration_error(np.ones(3, np.float32), np.ones(3, bool)) == 0


def test_auroc_is_the_share_of_pairs_in_order_with_ties_as_half():
  rng = np.random.default_rng(1)
  unsure = np.round(rng.uniform(size=300), 1).astype(np.float32)
  wrong = rng.uniform(size=300) < unsure
  pairs = [(a > b) + 0.5 * (a == b) for a in unsure[wrong] for b in unsure[~wrong]]
  assert failure_auroc(unsure, wrong) == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)
  assert failure_auroc(unsure, np.zeros(300, bool)) is None
  assert failure_auroc(unsure, np.ones(300, bool)) is None
