"""Two tiers: what `make test` runs, each test below a limit, and what is marked `full`.

The limit is on processor time, of the test's process and of those it started and waited for, so
that a busy machine fails nothing. What a fixture of a wider scope than a function takes is shared,
and does not count.
"""

import os
from collections.abc import Generator

import pytest

from tests import forked_commands as commands

LIMIT = 10.0  # s; a test that needs more is for `@pytest.mark.full`


class _Clock:
  """Processor seconds of the test under way, less what its shared fixtures took."""

  def __init__(self):
    self.start = self.shared = 0.0
    self.inside_shared = False


_CLOCK = pytest.StashKey[_Clock]()


def processor_seconds() -> float:
  """Of this process with all of its threads, and of its children and commands that have ended."""
  return sum(os.times()[:4]) + commands.processor_seconds()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
  clock = item.config.stash[_CLOCK] = _Clock()
  clock.start = processor_seconds()


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
  fixturedef: pytest.FixtureDef, request: pytest.FixtureRequest
) -> Generator[None, object, object]:
  clock = request.config.stash[_CLOCK]
  if fixturedef.scope == "function" or clock.inside_shared:
    return (yield)
  before, clock.inside_shared = processor_seconds(), True
  try:
    return (yield)
  finally:
    clock.shared += processor_seconds() - before
    clock.inside_shared = False


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
  result = yield
  clock = item.config.stash[_CLOCK]
  used = processor_seconds() - clock.start - clock.shared
  if used > LIMIT and item.get_closest_marker("full") is None:
    pytest.fail(
      f"took {used:.1f} s of processor time; accepted: at most {LIMIT:.0f}, or a mark `full`",
      pytrace=False,
    )
  return result
