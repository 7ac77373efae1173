"""Connections that ask nothing, and more of them than the system allows."""

import asyncio
import contextlib
import errno
import resource
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from meanet_jax.cloud.metrics import Metrics
from meanet_jax.log import logger

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_SECONDS_BETWEEN_LINES = 10.0


class Connection(HttpToolsProtocol):
  """uvicorn's, and hangs up on a client that takes too long over the head of a request.

  uvicorn's own clock runs between requests only: not before the first, nor once one has begun.
  """

  def __init__(self, *args: Any, head_seconds: float, metrics: Metrics, **kwargs: Any):
    super().__init__(*args, **kwargs)
    self._head_seconds, self._metrics = head_seconds, metrics
    self._clock: asyncio.TimerHandle | None = None

  def connection_made(self, transport: asyncio.Transport) -> None:
    """See `asyncio.Protocol`."""
    super().connection_made(transport)
    self._await_head()

  def data_received(self, data: bytes) -> None:
    """See `asyncio.Protocol`."""
    super().data_received(data)
    self._await_head()

  def connection_lost(self, exc: Exception | None) -> None:
    """See `asyncio.Protocol`."""
    super().connection_lost(exc)
    self._stop_clock()

  def send_400_response(self, msg: str) -> None:
    """To what is no HTTP."""
    self._metrics.refused.labels("invalid").inc()
    super().send_400_response(msg)

  def _await_head(self) -> None:
    """Starts the clock where none runs, stops it where a request is under way."""
    if self.cycle is not None and not self.cycle.response_complete:
      self._stop_clock()
    elif self._clock is None:
      self._clock = self.loop.call_later(self._head_seconds, self.timeout_keep_alive_handler)

  def _stop_clock(self) -> None:
    if self._clock is not None:
      self._clock.cancel()
      self._clock = None


def raise_file_limit() -> None:
  """Lets this process have as many connections as the system lets it ask for."""
  _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
  # Some systems call a limit infinite that they do not grant.
  with contextlib.suppress(ValueError, OSError):
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def exhaustion_handler() -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
  """For an event loop: a line now and then where it would log thousands of tracebacks a second.

  Every other error is handled as ever.
  """
  silent_until = 0.0

  def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    nonlocal silent_until
    error = context.get("exception")
    if not isinstance(error, OSError) or error.errno not in _EXHAUSTED:
      loop.default_exception_handler(context)
    elif loop.time() >= silent_until:
      silent_until = loop.time() + _SECONDS_BETWEEN_LINES
      limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
      logger.info(
        f"cloud tier: new connections wait: {error.strerror}; accepted: {limit} open files"
      )

  return handle
