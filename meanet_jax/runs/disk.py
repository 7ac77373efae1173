"""A full disk ends a run with one line."""

import contextlib
import errno
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from meanet_jax.errors import StdoutError, UserError

_CODES = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def full_disk_in_one_line(path: Path) -> Iterator[None]:
  """A context whose writes below `path` may find the disk full.

  Raises:
    UserError: they did, in whichever thread and by whichever library.
  """
  # Of the writers that Orbax has at work only the first to fail is awaited. The others' errors are
  # logged when asyncio drops them, perhaps as late as the process's end: so the filter stays.
  logging.getLogger("asyncio").addFilter(_is_not_full)
  try:
    yield
  except StdoutError:
    raise
  except Exception as error:
    if not _is_full(error):
      raise
    raise UserError(
      f"the disk of {path} is full and the run stopped; earlier checkpoints are complete; free "
      "some space and run the same command again, which goes on from the last of them"
    ) from error


def _is_not_full(record: logging.LogRecord) -> bool:
  return not (record.exc_info and _is_full(record.exc_info[1]))


def _is_full(error: BaseException | None) -> bool:
  while error is not None:
    # TensorStore names the system's error in its text alone.
    named = any(os.strerror(code) in str(error) for code in _CODES)
    if named or getattr(error, "errno", None) in _CODES:
      return True
    error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
  return False
