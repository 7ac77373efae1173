"""Files that are read in one piece and written completely or not at all."""

import contextlib
import fcntl
import glob
import json
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from meanet_jax.errors import UserError

_PARTIAL = ".partial"  # ends the name of a file that is being written
_MOMENT = 60.0  # seconds, in which a file is made and locked


def read_json(path: Path) -> Any:
  """The contents of a JSON file.

  Raises:
    UserError: it is missing or no JSON.
  """
  try:
    return json.loads(path.read_text())
  except (OSError, ValueError, RecursionError) as error:
    raise UserError(
      f"{path} cannot be read: {error}; accepted: the file that meanet train wrote"
    ) from error


def check_writable(path: Path, name: str) -> None:
  """Refuses a file that could not be written, before what it is to hold is made.

  Args:
    path: of the file; pipes and devices stand where they are, another is replaced.
    name: of the flag.

  Raises:
    UserError: a directory, or a file in one that cannot be written.
  """
  stands = path.exists() and not path.is_file()
  if path.is_dir() or not os.access(path if stands else path.parent, os.W_OK):
    raise UserError(f"{name} {path} cannot be written; accepted: a file in a writable directory")


def write_json(path: Path, value: Any) -> None:
  """Writes a JSON file completely or not at all."""
  write_text(path, json.dumps(value, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
  """Writes a text file completely or not at all, and safe from a crash once this returns."""
  write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
  """Writes a file completely or not at all, and safe from a crash once this returns."""
  with replacing(path) as file:
    file.write(data)


@contextlib.contextmanager
def writing(
  what: str, accepted: str = "a directory, or a path where one can be made"
) -> Iterator[None]:
  """A context that writes to a path which a person named.

  Args:
    what: the path, with the name that the person knows it by.
    accepted: in its place.

  Raises:
    UserError: it cannot be written.
  """
  try:
    yield
  except OSError as error:
    raise UserError(
      f"{what} cannot be written: {error.strerror or error}; accepted: {accepted}"
    ) from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
  """Opens a file beside `path` that takes its place at the end, or goes if anything is raised.

  What processes that were killed left of the same file goes too. What is no ordinary file, such as
  /dev/stdout, is written to as it stands.
  """
  if path.exists() and not path.is_file():
    with path.open("wb") as file:
      yield file
    return
  _remove_left(path)
  # Hosts that share a directory may write at once, under one and the same process number.
  partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}{_PARTIAL}")
  try:
    with partial.open("xb") as file:
      with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(file, fcntl.LOCK_EX)
      yield file
      file.flush()
      os.fsync(file.fileno())
    partial.replace(path)
  except BaseException:
    partial.unlink(missing_ok=True)
    raise


def _remove_left(path: Path) -> None:
  """Removes what was left half-written of a file by processes that live no more.

  A living one holds its file's lock, but for the moment after it made it.
  """
  for left in path.parent.glob(f".{glob.escape(path.name)}.*{_PARTIAL}"):
    with contextlib.suppress(OSError), left.open("r+b") as file:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
      if time.time() - os.fstat(file.fileno()).st_mtime > _MOMENT:
        left.unlink()
