"""SIGINT and SIGTERM while images are answered: what was begun is answered, nothing else is."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Callable[[], signal.Signals | None]]:
  """A context in which the first of them ends nothing, and the second what the first would have.

  The function that it yields gives the first. Beside the main thread, which alone may handle
  signals, it does nothing.
  """
  told: list[signal.Signals] = []
  before = {}

  def take(number: int, _: FrameType | None) -> None:
    told.append(signal.Signals(number))
    restore()

  def restore() -> None:
    for number, handler in before.items():
      signal.signal(number, handler)

  if threading.current_thread() is threading.main_thread():
    before = {number: signal.signal(number, take) for number in (signal.SIGINT, signal.SIGTERM)}
  try:
    yield lambda: told[0] if told else None
  finally:
    restore()
