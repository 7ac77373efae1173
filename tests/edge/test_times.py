"""Times of a stream: mean and standard error as NumPy has them, quantiles within a bin."""

import numpy as np
import pytest

from meanet_jax.edge.times import Times


def test_a_stream_of_times():
  seconds = np.random.default_rng(0).lognormal(-6, 1, 2_000)
  times = Times()
  for value in seconds:
    times.add(float(value))
  assert times.count == 2_000
  assert times.sum == pytest.approx(seconds.sum(), rel=1e-12)
  assert times.mean == pytest.approx(seconds.mean(), rel=1e-12)
  expected = seconds.std(ddof=1) / np.sqrt(2_000)
  assert times.standard_error == pytest.approx(expected, rel=1e-9)
  for share in (0.0005, 0.5, 0.95, 1.0):
    exact = np.quantile(seconds, share, method="inverted_cdf")
    found = times.quantile(share)
    assert found is not None
    assert exact <= found * (1 + 1e-12) <= exact * 1.0101


def test_no_time_one_time_and_none_at_all():
  times = Times()
  assert (times.mean, times.standard_error, times.quantile(0.95)) == (None, None, None)
  times.add(0.0)
  assert (times.mean, times.standard_error) == (0.0, None)
  assert times.quantile(0.95) == pytest.approx(1e-9, rel=0.0101)
