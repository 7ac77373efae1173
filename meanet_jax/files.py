"""Files that are read in one piece and written completely or not at all."""

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from meanet_jax.errors import UserError

PARTIAL = ".partial"  # ends the name of a file that is being written


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
def replacing(path: Path) -> Iterator[BinaryIO]:
  """Opens a file beside `path` that takes its place at the end, or goes if anything is raised.

  What is no ordinary file, such as /dev/stdout, is written to as it stands.
  """
  if path.exists() and not path.is_file():
    with path.open("wb") as file:
      yield file
    return
  # Hosts that share a directory may write at once, under one and the same process number.
  partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}{PARTIAL}")
  try:
    with partial.open("wb") as file:
      yield file
      file.flush()
      os.fsync(file.fileno())
    partial.replace(path)
  except BaseException:
    partial.unlink(missing_ok=True)
    raise
