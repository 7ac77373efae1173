"""metrics.jsonl and timing.jsonl: one line per logged step."""

import json
from pathlib import Path
from typing import Any

from meanet_jax.errors import UserError
from meanet_jax.files import write_text


class MetricsFile:
  """Appends lines `{"stage", "step", "epoch", ...values}`, each flushed when written."""

  def __init__(self, path: Path):
    self.path = path

  def rewind(self, stage: str, step: int) -> None:
    """Drops what a stage logged after `step`, and a half-written last line.

    A resumed run logs those steps again, so that no step stands in the file twice.

    Raises:
      UserError: a line that no run has written.
    """
    kept = [line for line in self.read() if line["stage"] != stage or line["step"] <= step]
    if self.path.exists():
      write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))

  def write(self, stage: str, step: int, epoch: float, values: dict[str, Any]) -> dict[str, Any]:
    """Appends one line, and returns it."""
    line = {"stage": stage, "step": step, "epoch": round(epoch, 4)} | values
    with self.path.open("a") as file:
      file.write(json.dumps(line) + "\n")
    return line

  def read(self) -> list[dict[str, Any]]:
    """All complete lines; none where there is no file yet.

    Raises:
      UserError: a line that no run has written.
    """
    if not self.path.exists():
      return []
    complete = self.path.read_bytes().split(b"\n")[
      :-1
    ]  # what follows the last newline is half a line
    return [self._parse(number, line) for number, line in enumerate(complete, 1)]

  def _parse(self, number: int, text: bytes) -> dict[str, Any]:
    try:
      line = json.loads(text)
      if not isinstance(line["stage"], str) or not isinstance(line["step"], int):
        raise ValueError("stage and step are of other types")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
      raise UserError(
        f"{self.path}, line {number}, cannot be read ({type(error).__name__}: {error}); "
        "remove that line, or restore the file as meanet train wrote it"
      ) from error
    return line
