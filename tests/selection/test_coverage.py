"""The stated confidence of a whole choice: hard classes selected, then thresholds chosen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meanet_jax.config.constraints import Constraints
from meanet_jax.data.calibration_part import calibration_part
from meanet_jax.routing.hard_classes import (
  HardClasses,
  confusion_matrix,
  select_hard_classes,
)
from meanet_jax.routing.policies import PRESETS, Thresholds
from meanet_jax.routing.rules import Records
from meanet_jax.routing.scores import Scores
from meanet_jax.selection.limits import Points
from meanet_jax.selection.select import select
from meanet_jax.selection.sweep import sweep

CLASSES, HARD, SIZE = 20, 10, 400
CONFIDENCE = 0.9
PAPER = PRESETS["paper"]
SHARES = np.linspace(0, 1, 102).astype(np.float32)
GRID = Thresholds(SHARES, SHARES, SHARES)
# Accuracy on the whole population at each threshold t: images of uncertainty u up to t are right
# with probability 0.9 - 0.4 u at either exit of the edge, the others with 0.97 in the cloud.
TRUTH = 0.9 * SHARES - 0.2 * SHARES**2 + 0.97 * (1 - SHARES)


def draw(rng: np.random.Generator, label: np.ndarray) -> Records:
  """Exits of known quality on images of these labels; all classes are alike.

  So a sample's least precise classes are so by chance, and whoever judges the extension on the
  images that selected them sees main's bad luck avoided.
  """
  size = len(label)
  unsure = rng.uniform(size=size).astype(np.float32)

  def exit(accuracy: np.ndarray) -> Scores:
    right = rng.uniform(size=size) < accuracy
    other = (label + rng.integers(1, CLASSES, size)) % CLASSES
    prediction = np.where(right, label, other).astype(np.int32)
    return Scores(prediction, 1 - unsure, unsure, 1 - unsure)

  edge = 0.9 - 0.4 * unsure
  return Records(label, unsure, exit(edge), exit(edge), exit(np.full(size, 0.97)))


def draw_labels(rng: np.random.Generator, size: int) -> np.ndarray:
  return rng.integers(CLASSES, size=size).astype(np.int32)


def draw_every_class_alike(rng: np.random.Generator, size: int) -> np.ndarray:
  return rng.permutation(np.arange(size, dtype=np.int32) % CLASSES)


def selecting(records: Records) -> np.ndarray:
  confusion = confusion_matrix(records.label, records.main.prediction, CLASSES)
  return HardClasses(select_hard_classes(confusion, HARD)[0], CLASSES).mask


def measured(records: Records, hard: np.ndarray) -> Points:
  size = len(records.label)
  arrays = jax.tree.map(jnp.asarray, (GRID, records, hard))
  counts = jax.tree.map(np.asarray, sweep(PAPER, *arrays, chunk=102))
  offload = counts.cloud / size
  return Points(counts.correct / size, offload, offload, offload, 1.0, 1.0)


def test_a_large_fresh_population_has_the_accuracies_that_coverage_is_judged_by():
  rng = np.random.default_rng(1)
  fresh = draw(rng, draw_labels(rng, 300_000))
  for _ in range(3):
    hard = selecting(draw(rng, draw_labels(rng, SIZE)))
    # 4.5 standard deviations of a share of 300,000 images.
    np.testing.assert_allclose(measured(fresh, hard).accuracy, TRUTH, atol=0.004)


def choices_that_hold(labels, apart: bool) -> tuple[int, int]:
  """How many of 1,000 choices keep the limit or promise nothing, and how many promise."""
  rng = np.random.default_rng(0)
  constraints = Constraints(min_accuracy=0.85, confidence=CONFIDENCE)
  held = promised = 0
  for seed in range(1000):
    validation = draw(rng, labels(rng, SIZE))
    part = calibration_part(SIZE, 0.5, seed)
    calibration = jax.tree.map(lambda values, p=part: values[p], validation)
    selection = jax.tree.map(lambda values, p=part: values[~p], validation)
    hard = selecting(selection if apart else calibration)
    point, unmet, *_ = select(measured(calibration, hard), int(part.sum()), constraints)
    promised += unmet is None
    held += unmet is not None or bool(TRUTH[point] >= constraints.min_accuracy)
  return held, promised


# 900 of 1,000 are expected to hold at worst; 3 standard deviations of that are 28.
LEAST = 900 - 28


@pytest.mark.parametrize("labels", [draw_labels, draw_every_class_alike])
def test_an_accuracy_limit_holds_when_calibration_images_selected_nothing(labels):
  held, promised = choices_that_hold(labels, apart=True)
  assert promised > 900  # the guarantee is not empty
  assert held >= LEAST


def test_it_does_not_hold_when_the_same_images_select_the_hard_classes():
  """The mistake that the calibration part is there for; the test above would see it."""
  held, promised = choices_that_hold(draw_labels, apart=False)
  assert promised > 900
  assert held < LEAST
