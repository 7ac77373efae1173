"""SIGINT, SIGTERM and SIGHUP: what is under way is finished or saved, nothing else is begun.

The standard library alone: devices run this too.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

Stop = Callable[[], signal.Signals | None]  # the signal that asks to end, once one has come

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
_SECONDS_AFTER_PARENT = 60.0


def never() -> None:
  """A `Stop` that nothing asks to end."""


def heeded() -> tuple[signal.Signals, ...]:
  """Those of the three that are not ignored, as `nohup` and a script's `&` have it."""
  numbers = (getattr(signal, name) for name in _NAMES if hasattr(signal, name))
  return tuple(number for number in numbers if signal.getsignal(number) != signal.SIG_IGN)


@contextlib.contextmanager
def stop_on_signals(pass_on: signal.Signals | None = None) -> Iterator[Stop]:
  """A context in which the first of them ends nothing, and the second what the first would have.

  The function that it yields gives the first. Beside the main thread, which alone may handle
  signals, it does nothing.

  Args:
    pass_on: a signal that this process also sends itself with the first of the others, and that is
      left to whoever handles it.
  """
  received: list[signal.Signals] = []
  before = {}
  terminals = [descriptor for descriptor in (1, 2) if _is_terminal(descriptor)]

  def take(number: int, _: FrameType | None) -> None:
    received.append(signal.Signals(number))
    restore()
    for descriptor in terminals:
      _tell(descriptor, number)
    if pass_on is not None:
      os.kill(os.getpid(), pass_on)

  def restore() -> None:
    for number, handler in before.items():
      signal.signal(number, handler)

  if threading.current_thread() is threading.main_thread():
    before = {number: signal.signal(number, take) for number in heeded() if number != pass_on}
  try:
    yield lambda: received[0] if received else None
  finally:
    restore()


def leave_to_parent() -> None:
  """In a worker process: what a terminal or a batch system sends to all is for the parent to heed.

  The parent needs its workers until it has saved, and ends them itself. After SIGTERM a worker ends
  in a minute, whatever became of the parent.
  """

  def end_later(*_: object) -> None:
    timer = threading.Timer(_SECONDS_AFTER_PARENT, os._exit, [128 + signal.SIGTERM])
    timer.daemon = True
    timer.start()

  for number in heeded():
    signal.signal(number, end_later if number == signal.SIGTERM else signal.SIG_IGN)


def _is_terminal(descriptor: int) -> bool:
  try:
    return os.isatty(descriptor)
  except OSError:
    return False


def _tell(descriptor: int, number: int) -> None:
  """Says on a terminal what happens now; one that is gone takes no more output, and has none."""
  again = b"\r\nfinishing what is under way; Ctrl-C again ends at once\r\n"
  try:
    # Not through `sys.stderr`, whose buffer the signal may have found half written.
    os.write(descriptor, again if number == signal.SIGINT and descriptor == 2 else b"\r")
  except OSError:
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
