"""A directory is written by one process at a time; a second one is refused.

The lock is the operating system's (`flock` on the file `.lock`), so that it ends with its process,
however that ends. It holds between hosts where the file system's locks do: NFS (version 4, or 3
with its lock manager), GPFS, and Lustre mounted with `flock`. On a file system without locks only
a process of the same host is noticed, by what the file says.
"""

import contextlib
import errno
import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from meanet_jax.errors import UserError
from meanet_jax.files import writing

LOCK = ".lock"
_ATTEMPTS, _PAUSE = 4, 0.1  # seconds between them: another may be looking, or about to end
_TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextlib.contextmanager
def held(directory: Path, what: str = "workdir") -> Iterator[None]:
  """A context in which no other process is in such a context of the same directory.

  Args:
    directory: made when missing.
    what: the directory is to a person.

  Raises:
    UserError: another process is, and nothing was changed; or the directory cannot be written.
  """
  make_directory(directory, what)
  path = directory / LOCK
  with writing(f"{what} {directory}"):
    descriptor = _lock(path, directory, what)
  try:
    _describe(descriptor)
    yield
  finally:
    with contextlib.suppress(OSError):
      if _is_at(descriptor, path):
        path.unlink()
    os.close(descriptor)


def refuse_if_held(directory: Path, what: str = "workdir") -> None:
  """Refuses a directory that another process holds. Changes nothing, and needs no right to write.

  Raises:
    UserError: it does.
  """
  try:
    descriptor = os.open(directory / LOCK, os.O_RDONLY)
  except OSError:  # nobody holds what is not there; what cannot be read is found out elsewhere
    return
  try:
    if not _is_free(descriptor, fcntl.LOCK_SH):
      raise _in_use(descriptor, directory, what)
  finally:
    os.close(descriptor)


def make_directory(directory: Path, what: str = "workdir") -> None:
  """Makes a directory, and those above it, where it is missing.

  Raises:
    UserError: it cannot be made.
  """
  with writing(f"{what} {directory}"):
    directory.mkdir(parents=True, exist_ok=True)


def _lock(path: Path, directory: Path, what: str) -> int:
  while True:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
      if not _is_free(descriptor, fcntl.LOCK_EX):
        raise _in_use(descriptor, directory, what)
      if _is_at(descriptor, path):  # else its holder removed it after it was opened here
        return descriptor
    except BaseException:
      os.close(descriptor)
      raise
    os.close(descriptor)


def _is_free(descriptor: int, kind: int) -> bool:
  """Whether the lock is free, and taken here then until the descriptor is closed."""
  for attempt in range(_ATTEMPTS):
    try:
      fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
      if error.errno in _NO_LOCKS:
        return not _runs_here(_holder(descriptor))
      if error.errno not in _TAKEN:
        raise
    else:
      return True
    if attempt + 1 < _ATTEMPTS:
      time.sleep(_PAUSE)
  return False


def _is_at(descriptor: int, path: Path) -> bool:
  try:
    return os.path.samestat(os.fstat(descriptor), path.stat())
  except FileNotFoundError:
    return False


def _describe(descriptor: int) -> None:
  """Writes which process holds the lock into the file, unless the disk is full."""
  holder = {
    "command": Path(sys.argv[0]).name,
    "host": socket.gethostname(),
    "process": os.getpid(),
    "since": datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
    "boot": _boot(),
    "start_ticks": _start_ticks(os.getpid()),
  }
  with contextlib.suppress(OSError):
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(holder).encode(), 0)


def _holder(descriptor: int) -> dict[str, Any]:
  """What the holder wrote; empty where it has not yet."""
  try:
    found = json.loads(os.pread(descriptor, 10_000, 0))
  except (OSError, ValueError):
    return {}
  return found if isinstance(found, dict) else {}


def _in_use(descriptor: int, directory: Path, what: str) -> UserError:
  holder = _holder(descriptor)
  who = "another process"
  if holder:
    who = (
      f"{holder.get('command')} (process {holder.get('process')} on host {holder.get('host')}, "
      f"since {holder.get('since')})"
    )
  return UserError(
    f"{what} {directory} is in use by {who}; wait until it ends, or use another directory"
  )


def _runs_here(holder: dict[str, Any]) -> bool:
  """Whether a holder is a living process of this host, and not another with its number."""
  ticks = _start_ticks(holder.get("process"))
  return ticks is not None and (holder.get("boot"), holder.get("start_ticks")) == (_boot(), ticks)


def _boot() -> str | None:
  try:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
  except OSError:
    return None


def _start_ticks(process: Any) -> int | None:
  """When a process of this host began, in ticks since the host did; None where it does not run."""
  try:
    stat = Path(f"/proc/{process}/stat").read_text()
  except (OSError, ValueError):
    return None
  return int(stat.rpartition(")")[2].split()[19])  # a program's name may hold anything
