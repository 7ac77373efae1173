"""A standard output that cannot be written. The standard library alone: devices run this too."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator

from meanet_jax.errors import UserError


@contextlib.contextmanager
def checked_stdout() -> Iterator[None]:
  """A context at whose end everything printed has been written.

  Raises:
    SystemExit: nobody reads it any longer (`| head`): without a word, with SIGPIPE's status.
    UserError: it cannot be written for another reason, as on a full disk.
  """
  try:
    yield
    sys.stdout.flush()
  except OSError as error:
    if not _is_stuck():
      raise
    # The interpreter flushes once more at its end, and would complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
      sys.exit(128 + signal.SIGPIPE)
    raise UserError(
      f"standard output cannot be written: {error.strerror}; accepted: one with room"
    ) from error


def _is_stuck() -> bool:
  """Whether it was standard output that failed, which it does again; what failed before is lost."""
  try:
    os.write(sys.stdout.fileno(), b"\n")
  except OSError:
    return True
  return False
