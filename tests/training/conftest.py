from collections.abc import Iterator

import jax
import pytest


@pytest.fixture(autouse=True)
def optax_promotes() -> Iterator[None]:
  """optax's own schedules multiply Python floats with integer step counts."""
  with jax.numpy_dtype_promotion("standard"):
    yield
