"""Standard streams that are closed or cannot be written.

The standard library alone: devices run this too.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import TextIO

from meanet_jax.errors import StdoutError


def open_closed_streams() -> None:
  """Opens /dev/null in place of the standard streams that this process began without (`>&-`).

  Who closes standard output asks for silence, which is no error. Left closed, its number would be
  given to the next file that is opened, and what any library then writes to it would land there.
  """
  for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
    if getattr(sys, name) is not None:
      continue
    if _is_open(descriptor):  # another file has the number already
      stream = open(os.devnull, "w" if descriptor else "r")  # noqa: SIM115
    else:
      null = os.open(os.devnull, os.O_RDWR)
      os.dup2(null, descriptor)
      if null != descriptor:
        os.close(null)
      stream = open(descriptor, "w" if descriptor else "r", closefd=False)  # noqa: SIM115
    setattr(sys, name, stream)


@contextlib.contextmanager
def checked_stdout() -> Iterator[None]:
  """A context at whose end everything printed has been written.

  Raises:
    SystemExit: nobody reads it any longer (`| head`): without a word, with SIGPIPE's status.
    StdoutError: it cannot be written for another reason, as on a full disk.
  """
  open_closed_streams()
  try:
    yield
    sys.stdout.flush()
  except OSError as error:
    if not _is_stuck():
      raise
    if isinstance(error, BrokenPipeError):
      _give_up(sys.stdout)
      sys.exit(128 + signal.SIGPIPE)
    raise unwritable(error) from error


def unwritable(error: OSError) -> StdoutError:
  """The error of a standard output that cannot be written; no more is written to it."""
  _give_up(sys.stdout)
  return StdoutError(
    f"standard output cannot be written: {error.strerror}; accepted: one with space"
  )


def say_on_stderr(text: str) -> None:
  """A line on stderr, if that can be written: a command's status does not depend on it."""
  try:
    print(" ".join(text.split()), file=sys.stderr, flush=True)
  except OSError:
    _give_up(sys.stderr)


def _is_open(descriptor: int) -> bool:
  try:
    os.fstat(descriptor)
  except OSError:
    return False
  return True


def _give_up(stream: TextIO) -> None:
  # The interpreter flushes once more at its end, and would end with status 120.
  os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _is_stuck() -> bool:
  """Whether it was standard output that failed, which it does again; what failed before is lost."""
  try:
    os.write(sys.stdout.fileno(), b"\n")
  except OSError:
    return True
  return False
