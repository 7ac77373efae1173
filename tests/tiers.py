"""Two tiers: what `make test` runs, each test below a limit, and what is marked `full`.

The limit is on processor time, of the test's process and of those it started and waited for, so
that a busy machine fails nothing. Nor does a slow one: the limit is that of a machine that does
`_fixed_work` in `_EXPECTED` seconds, and grows in proportion to what it takes before or after the
test. What a fixture of a wider scope than a function takes is shared, and does not count.
"""

import os
import time
from collections.abc import Generator

import pytest

from tests import forked_commands as commands

LIMIT = 10.0  # s; a test that needs more is for `@pytest.mark.full`
# s. Tests that keep the limit elsewhere took up to twice as long on shared virtual cores (Xeon,
# 2.1 GHz), where `_fixed_work` takes 0.008 to 0.012 s.
_EXPECTED = 0.005
_SAMPLE_EVERY = 15.0  # s between measurements of the machine


class _Clock:
  """Processor seconds of the test under way, less what its shared fixtures took.

  slowness: of the machine before the test, as a multiple of `_EXPECTED`, measured at `sampled`.
  """

  def __init__(self):
    self.start = self.shared = self.sampled = 0.0
    self.slowness = 1.0
    self.inside_shared = False

  def begin(self) -> None:
    if time.monotonic() - self.sampled > _SAMPLE_EVERY:
      self.slowness, self.sampled = slowness(), time.monotonic()
    self.start, self.shared = processor_seconds(), 0.0


_CLOCK = pytest.StashKey[_Clock]()


def processor_seconds() -> float:
  """Of this process with all of its threads, and of its children and commands that have ended."""
  return sum(os.times()[:4]) + commands.processor_seconds()


def slowness() -> float:
  """What `_fixed_work` takes here and now, as a multiple of `_EXPECTED`, from 1 to 4.

  The least of three tries, for one may be interrupted.
  """
  seconds = []
  for _ in range(3):
    begun = time.thread_time()
    _fixed_work()
    seconds.append(time.thread_time() - begun)
  return min(max(1.0, min(seconds) / _EXPECTED), 4.0)


def _fixed_work() -> int:
  total = 0
  for number in range(200_000):
    total += number
  return total


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
  item.config.stash.setdefault(_CLOCK, _Clock()).begin()


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
    limit = LIMIT * max(clock.slowness, slowness())
    if used > limit:
      pytest.fail(
        f"took {used:.1f} s of processor time; accepted: at most {limit:.1f}, or a mark `full`",
        pytrace=False,
      )
  return result
