"""The space in shared memory for what worker processes hand over, checked before they start.

Grain's workers write batches to POSIX shared memory, which is /dev/shm on Linux: 64 MB in a
container by default. A worker that finds it full is ended by SIGBUS.
"""

import contextlib
import errno
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from meanet_jax.errors import UserError

PATH = Path("/dev/shm")
BATCHES_PER_WORKER = 2  # that are made ahead
# Per worker: those in its queue, as many that the process which trains has taken from it, and one
# more at each end of the queue. Beside them, those that go to the devices. Measured.
_HELD_PER_WORKER = 2 * BATCHES_PER_WORKER + 2
_HELD_BESIDE = 3
_PER_BATCH, _PER_WORKER = 16 << 10, 256 << 10  # labels and rounding to pages; queues' semaphores


def needed_bytes(batch_bytes: int, batches: int, workers: int) -> int:
  """What worker processes hold of a stream in shared memory at most.

  Args:
    batch_bytes: of the arrays of one batch.
    batches: that the stream has.
    workers: processes; none needs nothing.
  """
  if not workers:
    return 0
  held = min(_HELD_PER_WORKER * workers + _HELD_BESIDE, batches)
  return held * (batch_bytes + _PER_BATCH) + workers * _PER_WORKER


def check_shared_memory(needed: int, workers: int, path: Path = PATH) -> None:
  """Refuses worker processes for whose batches shared memory is too small.

  Args:
    needed: bytes, as `needed_bytes` gives them; of several streams that are open at once their sum.
    workers: of a stream.
    path: where shared memory is mounted on Linux; other systems have no such place to look at.

  Raises:
    UserError: with its size, what is free, and what is needed.
  """
  if not workers or sys.platform != "linux":
    return
  size = free = 0
  if path.is_dir() and os.access(path, os.W_OK):
    found = os.statvfs(path)
    size, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
  if free < needed:
    raise UserError(
      f"{path} (shared memory) has {_mb(size)} MB, of which {_mb(free)} are free, and {workers} "
      f"worker processes need {_mb(needed)} MB there for the batches that they make; accepted: a "
      f"larger one (docker run --shm-size={needed * 5 // 4 // 10**6 + 1}m), fewer workers, or "
      "--workers=0"
    )


@contextlib.contextmanager
def lost_workers_in_one_line(workers: int) -> Iterator[None]:
  """A context that reads from worker processes.

  Raises:
    UserError: shared memory filled up, or a worker was killed; by which signal.
  """
  try:
    yield
  except OSError as error:
    if error.errno != errno.ENOSPC:
      raise
    # From none, or it would look like an error of the run's own disk.
    raise _lost(f"{PATH} (shared memory) is full", workers) from None
  except RuntimeError as error:
    found = re.search(r"terminated unexpectedly with exit code -(\d+)", str(error))
    if found is None:
      raise
    name = signal.Signals(int(found[1])).name
    why = f": {PATH} (shared memory) is full" if name == "SIGBUS" else ""
    raise _lost(
      f"a worker process that decodes images was ended by {name}{why}", workers
    ) from error


def _lost(what: str, workers: int) -> UserError:
  return UserError(
    f"{what}; accepted: more memory, fewer than {workers} workers, or --workers=0; the same "
    "command goes on from the last checkpoint"
  )


def _mb(size: int) -> str:
  return f"{size / 1e6:.0f}" if size >= 10e6 or not size else f"{size / 1e6:.2f}"
