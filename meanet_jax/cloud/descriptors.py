"""Open files: as many as the system grants, and a line when there are no more."""

import asyncio
import contextlib
import errno
import os
import resource

from meanet_jax.log import logger

_SECONDS_BETWEEN_LINES = 10.0


def raise_file_limit() -> None:
  """Lets this process have as many connections as the system lets it ask for."""
  _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
  # Some systems call a limit infinite that they do not grant.
  with contextlib.suppress(ValueError, OSError):
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def report_exhaustion(interval: float = 1.0) -> None:
  """Until it is cancelled, logs a line now and then while no file can be opened.

  gRPC goes on by itself: new connections wait until one ends.

  Args:
    interval: seconds between two looks.
  """
  while True:
    await asyncio.sleep(interval)
    try:
      os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
      if error.errno not in (errno.EMFILE, errno.ENFILE):
        raise
      limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
      logger.info(
        f"cloud tier: new connections wait: {error.strerror}; accepted: {limit} open files"
      )
      await asyncio.sleep(_SECONDS_BETWEEN_LINES)
