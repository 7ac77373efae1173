import pytest
from hypothesis import given
from hypothesis import strategies as st

from meanet_jax.planning.compile import largest_fitting


def search(share, fails: int) -> tuple[int | None, list[int]]:
  tried = []

  def attempt(size: int) -> tuple[bool, float]:
    tried.append(size)
    return share(size) <= 1, share(size)

  return largest_fitting(attempt, fails, share(fails)), tried


@pytest.mark.parametrize(
  ("fixed", "each", "largest"), [(0.1, 0.01, 90), (0.0, 0.3, 3), (0.5, 0.6, None)]
)
def test_memory_along_a_line_takes_few_attempts(fixed, each, largest):
  found, tried = search(lambda size: fixed + each * size - 1e-9, 1000)
  assert found == largest
  assert len(tried) <= 5


@pytest.mark.parametrize("largest", [650, 1000, 3000])
def test_memory_that_stays_below_the_limit_for_long(largest):
  """A ResNet-101 on a v5e: 0.93 of the memory at 639, 683 and 729 images, 25.6 of it at 16384."""
  straight = 25.6 / 16384
  found, tried = search(
    lambda size: min(straight * size, 0.93) if size <= largest else straight * size, 16384
  )
  assert found == largest
  assert len(tried) <= 8 + 11, tried


def test_shares_that_contradict_what_was_compiled():
  """15.80 of 15.75 GiB by the count of a program that compiled, and a message rounded to 15.75."""
  assert largest_fitting(lambda size: (size <= 10, 1.003 if size <= 10 else 1.0), 1000, 1.0) == 10


@given(st.lists(st.floats(0.001, 0.2), min_size=2, max_size=300), st.floats(0, 0.5))
def test_the_largest_is_found_whatever_the_growth(steps, fixed):
  shares = [fixed + sum(steps[: size + 1]) for size in range(len(steps))]
  shares[-1] = max(shares[-1], 1.01)
  found, tried = search(lambda size: shares[size], len(steps) - 1)
  fitting = [size for size in range(1, len(steps)) if shares[size] <= 1]
  assert found == (max(fitting) if fitting else None)
  assert len(tried) <= 8 + 9
