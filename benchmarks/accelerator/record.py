"""What a part has measured: a JSON file, written again after every row."""

import dataclasses
from pathlib import Path
from typing import Any

from meanet_jax.files import write_json

RUNNING, FINISHED = "running", "finished"


class Record:
  """The rows of one part, on disk from its first moment on.

  The file is `{"part", "rehearsal", "status", "rows", "environment"}`. `status` is `running` until
  the process that started the part writes how it ended; a file that still says so was cut off.
  """

  def __init__(self, path: Path, part: str, rehearsal: bool):
    self.path = path
    self._content: dict[str, Any] = {
      "part": part,
      "rehearsal": rehearsal,
      "status": RUNNING,
      "rows": [],
      "environment": None,
    }
    self._write()

  def environment(self, found: dict[str, Any]) -> None:
    """Notes versions and devices, once the part has opened them."""
    self._content["environment"] = found
    self._write()

  def add(self, **row: Any) -> None:
    """Adds a row; `kind` says what it is of."""
    self._content["rows"].append(row)
    self._write()
    print(", ".join(f"{name} {_short(value)}" for name, value in row.items()), flush=True)

  def _write(self) -> None:
    write_json(self.path, self._content)


@dataclasses.dataclass(frozen=True)
class PartContext:
  """What a part is given.

  record: takes its rows. rehearsal: whether sizes are tiny. scratch: a folder of its own.
  """

  record: Record
  rehearsal: bool
  scratch: Path


def _short(value: Any) -> str:
  return f"{value:.4g}" if isinstance(value, float) else str(value)
