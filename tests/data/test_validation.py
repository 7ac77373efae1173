import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meanet_jax.data.validation import calibration_part

LABELS = st.lists(st.integers(0, 6), max_size=60).map(lambda labels: np.array(labels, np.int32))


@given(LABELS, st.floats(0, 0.9), st.integers(0, 2**31))
def test_every_class_has_its_share_to_within_one_image(labels, fraction, seed):
  part = calibration_part(labels, fraction, seed)
  assert part.shape == labels.shape
  assert abs(part.sum() - fraction * len(labels)) < 1 + 1e-9
  for c in np.unique(labels):
    assert abs(part[labels == c].sum() - fraction * np.sum(labels == c)) < 1 + 1e-9
  np.testing.assert_array_equal(part, calibration_part(labels, fraction, seed))


def test_no_share_is_no_image():
  assert not calibration_part(np.arange(50, dtype=np.int32) % 5, 0.0, 3).any()


def test_every_image_is_as_likely_as_any_other():
  """Rare classes too, of which a share is no whole number of images."""
  labels = np.repeat(np.arange(4, dtype=np.int32), [1, 2, 7, 20])
  drawn = np.mean([calibration_part(labels, 0.3, seed) for seed in range(4000)], axis=0)
  # 4.5 standard deviations of a share of 4,000 draws.
  np.testing.assert_allclose(drawn, 0.3, atol=4.5 * np.sqrt(0.3 * 0.7 / 4000))


def test_another_seed_is_another_part():
  labels = np.arange(100, dtype=np.int32) % 10
  assert (calibration_part(labels, 0.5, 0) != calibration_part(labels, 0.5, 1)).any()
  assert calibration_part(labels, 0.5, 0).sum() == pytest.approx(50, abs=1)
