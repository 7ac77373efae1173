import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from meanet_jax.data.calibration_part import calibration_part


@given(st.integers(1, 80), st.floats(0, 0.9), st.integers(0, 2**31))
def test_the_part_has_its_share_and_depends_on_its_arguments_alone(count, fraction, seed):
  part = calibration_part(count, fraction, seed)
  assert part.shape == (count,)
  assert abs(part.sum() - fraction * count) <= (0.5 if fraction * count >= 0.5 else 1)
  assert part.any() == (fraction > 0)
  np.testing.assert_array_equal(part, calibration_part(count, fraction, seed))


def test_every_image_is_as_likely_as_any_other():
  drawn = np.mean([calibration_part(30, 0.3, seed) for seed in range(4000)], axis=0)
  # 4.5 standard deviations of a share of 4,000 draws.
  np.testing.assert_allclose(drawn, 0.3, atol=4.5 * np.sqrt(0.3 * 0.7 / 4000))


def test_another_seed_is_another_part():
  assert (calibration_part(100, 0.5, 0) != calibration_part(100, 0.5, 1)).any()
