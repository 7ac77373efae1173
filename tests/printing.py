"""What a command would have printed, kept instead."""

import contextlib
from collections.abc import Iterator

from rich.console import Console

from meanet_jax import log


@contextlib.contextmanager
def printing_to(console: Console) -> Iterator[None]:
  """A context in which everything is printed on `console`, and after which nothing is changed."""
  before, propagated = list(log.logger.handlers), log.logger.propagate
  log.to_console(console)
  try:
    yield
  finally:
    log.logger.handlers[:], log.logger.propagate = before, propagated
