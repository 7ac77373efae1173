"""Files that are read in one piece and written completely or not at all."""

import json
import os
from pathlib import Path
from typing import Any

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
  partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
  try:
    with partial.open("wb") as file:
      file.write(data)
      file.flush()
      os.fsync(file.fileno())
    partial.replace(path)
  except BaseException:
    partial.unlink(missing_ok=True)
    raise
