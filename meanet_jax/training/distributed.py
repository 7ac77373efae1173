"""Several processes that train as one: who writes, what all agree on, when they stop.

Process 0 alone reads and writes the run's directory and prints; `broadcast_from_process_0` hands
what it found to the others. All processes call these functions in the same order; with one process
they cost nothing. `parallel.py` knows how a step is spread over their devices.
"""

import contextlib
import itertools
import pickle
import signal
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from meanet_jax.errors import UserError
from meanet_jax.stopping import Stop, stop_on_signals

T = TypeVar("T")
CHUNK = 2**26  # bytes that are broadcast at a time: they pass through the devices' memory


def is_process_0() -> bool:
  """Whether this process prints and writes."""
  return jax.process_index() == 0


def broadcast_from_process_0(make: Callable[[], T]) -> T:
  """What `make` gives in process 0, in every process, bit for bit.

  Args:
    make: called in process 0 alone, so it must not wait for other processes.

  Raises:
    Exception: that of `make`, in every process.
  """
  if jax.process_count() == 1:
    return make()
  value, error = _try(make) if is_process_0() else (None, None)
  value, sent = pickle.loads(_broadcast(pickle.dumps((value, _picklable(error)), protocol=5)))
  if sent is not None:
    raise _everywhere(error or sent)
  return value


def all_succeed(make: Callable[[], T]) -> T:
  """What `make` gives in this process, once it has not failed in any.

  Raises:
    Exception: that of `make` in the first process in which it failed, in every process.
  """
  if jax.process_count() == 1:
    return make()
  value, error = _try(make)
  failed = multihost_utils.process_allgather(np.asarray(error is not None))
  if not failed.any():
    return value
  source = jax.process_index() == int(np.argmax(failed))
  sent = pickle.loads(_broadcast(pickle.dumps(_picklable(error), protocol=5), source))
  raise _everywhere(error if source and error is not None else sent)


def process_0_then_others(make: Callable[[], T]) -> T:
  """What `make` gives in this process, called in the others once it is done in process 0.

  Raises:
    Exception: that of `make`, in every process.
  """
  made: list[T] = []
  broadcast_from_process_0(lambda: made.append(make()))
  return all_succeed(lambda: made[0] if made else make())


@contextlib.contextmanager
def stop_together() -> Iterator[Stop]:
  """A context with a function that gives, in every process at the same call, a signal to any.

  To be called equally often in each; inside `connected`. JAX's preemption service handles SIGTERM
  and nothing else, so the others are passed on as SIGTERM.
  """
  calls = itertools.count(1)
  with stop_on_signals(pass_on=signal.SIGTERM) as own:
    yield (
      lambda: (
        (own() or signal.SIGTERM)
        if multihost_utils.reached_preemption_sync_point(next(calls))
        else None
      )
    )


def is_everywhere(error: BaseException | None) -> bool:
  """Whether every process raises the error, or one that it comes from."""
  while error is not None:
    if getattr(error, "everywhere", False):
      return True
    error = error.__cause__ or error.__context__
  return False


def _try(make: Callable[[], T]) -> tuple[Any, Exception | None]:
  try:
    return make(), None
  except Exception as error:
    return None, error


def _picklable(error: Exception | None) -> Exception | None:
  """As another process raises it: a defect's exception may not survive pickling, its text does."""
  if error is None or isinstance(error, UserError):
    return error
  return RuntimeError(f"process {jax.process_index()}: {type(error).__name__}: {error}")


def _broadcast(data: bytes, is_source: bool | None = None) -> bytes:
  source = is_process_0() if is_source is None else is_source
  length = np.asarray(divmod(len(data), CHUNK), np.int32)
  chunks, rest = multihost_utils.broadcast_one_to_all(length, source).tolist()
  size = chunks * CHUNK + rest
  sent = np.frombuffer(data, np.uint8) if source else np.zeros(size, np.uint8)
  # In integers: added to zeros, -0.0 would become 0.0.
  parts = (sent[start : start + CHUNK] for start in range(0, size, CHUNK))
  return b"".join(
    np.asarray(multihost_utils.broadcast_one_to_all(part, source)).tobytes() for part in parts
  )


def _everywhere(error: Exception) -> Exception:
  error.everywhere = True
  return error
