"""The stated confidence of a whole choice: hard classes selected, then thresholds chosen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meanet_jax.data.validation import calibration_part
from meanet_jax.routing.choose import Points, Wish, choose
from meanet_jax.routing.classes import (
  class_precision,
  confusion_matrix,
  is_hard,
  select_hard_classes,
)
from meanet_jax.routing.counts import count
from meanet_jax.routing.policies import PRESETS, Records, Thresholds, route
from meanet_jax.routing.scores import Scores
from meanet_jax.routing.sweep import sweep

CLASSES, HARD, SIZE = 12, 6, 400
PAPER = PRESETS["paper"]
SHARES = np.linspace(0, 1, 102).astype(np.float32)
GRID = Thresholds(SHARES, SHARES, SHARES)


def population(rng: np.random.Generator, size: int) -> Records:
  """Exits of known quality; uncertain images are harder for main and extension.

  All classes are alike, so a sample's least precise ones are so by chance: whoever judges the
  extension on the images that selected them sees main's bad luck avoided.
  """
  label = rng.integers(CLASSES, size=size).astype(np.int32)
  unsure = rng.uniform(size=size).astype(np.float32)

  def exit(accuracy: np.ndarray) -> Scores:
    right = rng.uniform(size=size) < accuracy
    other = (label + rng.integers(1, CLASSES, size)) % CLASSES
    prediction = np.where(right, label, other).astype(np.int32)
    return Scores(prediction, 1 - unsure, unsure, 1 - unsure)

  return Records(
    label=label,
    hard_probability=unsure,
    main=exit(0.9 - 0.4 * unsure),
    extension=exit(0.9 - 0.4 * unsure),
    cloud=exit(np.full(size, 0.97)),
  )


def select(records: Records) -> np.ndarray:
  confusion = confusion_matrix(records.label, records.main.prediction, CLASSES)
  return is_hard(select_hard_classes(class_precision(confusion), HARD), CLASSES)


def measured(records: Records, hard: np.ndarray) -> Points:
  size = len(records.label)
  arrays = jax.tree.map(jnp.asarray, (GRID, records, hard))
  counts = jax.tree.map(np.asarray, sweep(PAPER, *arrays, chunk=102))
  offload = counts.cloud / size
  return Points(counts.correct / size, offload, offload, offload, 1.0, 1.0)


@pytest.mark.parametrize("apart", [True, False])
def test_coverage_with_selection_over_1000_resampled_splits(apart):
  """An accuracy wish holds at its confidence - if the calibration images selected nothing."""
  rng = np.random.default_rng(0)
  fresh = population(rng, 100_000)
  wish = Wish(min_accuracy=0.85, confidence=0.9)
  held = kept = 0
  for split in range(1000):
    validation = population(rng, SIZE)
    part = calibration_part(validation.label, 0.5, split)
    calibration = jax.tree.map(lambda values, p=part: values[p], validation)
    selection = jax.tree.map(lambda values, p=part: values[~p], validation)
    hard = select(selection if apart else calibration)
    point, unmet = choose(measured(calibration, hard), len(calibration.label), wish)
    if unmet is not None:
      held += 1  # nothing was promised
      continue
    kept += 1
    at = Thresholds(*(values[point] for values in GRID))
    accuracy = count(route(PAPER, at, fresh, hard), fresh, hard).correct / len(fresh.label)
    held += bool(accuracy >= wish.min_accuracy)
  print(apart, held, kept)
  assert kept > 900  # the guarantee is not empty
  # 900 expected at worst; 3 standard deviations of 1,000 draws are 28.
  if apart:
    assert held >= 900 - 28
  else:  # the test sees the mistake that it is there for
    assert held < 900 - 28
