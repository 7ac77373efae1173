"""A stream's output: a JSON line per image."""

import contextlib
import json
import os
import signal
import sys
from types import TracebackType
from typing import Any

import numpy as np

from meanet_jax.edge.inputs import Item
from meanet_jax.edge.manifest import Manifest
from meanet_jax.edge.results import Result
from meanet_jax.errors import UserError
from meanet_jax.routing.rules import EXIT_NAMES


def to_line(result: Result, manifest: Manifest) -> dict[str, Any]:
  """The fields of an image's line, as docs/link.md lists them."""
  answer, reply, item = result.answer, result.reply, result.item
  encode, cloud = (reply.encode_seconds, reply.cloud_seconds) if reply else (0.0, 0.0)
  return {
    "id": item.number,
    "path": item.path,
    "class": result.prediction,
    "name": manifest.class_names[result.prediction],
    "exit": EXIT_NAMES[result.exit],
    "probability": round(result.probability, 6),
    "uncertainty": _written(answer.compared and answer.compared.uncertainty),
    "threshold": _written(answer.compared and answer.compared.threshold),
    "complex": answer.complex,
    "bytes_up": reply.bytes_up if reply else 0,
    "bytes_down": reply.bytes_down if reply else 0,
    "ms": {
      "edge": round(1e3 * answer.seconds, 4),
      "encode": round(1e3 * encode, 4),
      "cloud": round(1e3 * cloud, 4),
      "total": round(1e3 * result.seconds, 4),
    },
    "fallback": result.fallback,
    "agreement": result.monitored,
    "audit": result.monitored,  # the older name
    "label": item.label,
    "error": None,
  }


def _written(value: np.float32 | None) -> float | None:
  """In as many digits as distinguish a float32 from its neighbours: lines are compared again."""
  return None if value is None else float(str(value))


def error_line(item: Item) -> dict[str, Any]:
  """The line of a file that cannot be read: the same fields, without an answer."""
  fields = ("path", "class", "name", "exit", "probability", "uncertainty", "threshold", "complex")
  after = ("ms", "fallback", "agreement", "audit", "label")
  return (
    {"id": item.number}
    | dict.fromkeys(fields)
    | {"bytes_up": 0, "bytes_down": 0}
    | dict.fromkeys(after)
    | {"path": item.path, "error": item.error}
  )


class Output:
  """JSON lines in a file, `-` for stdout. Use it as a context.

  A full disk leaves complete lines: one that was begun is cut off.
  """

  def __init__(self, path: str):
    self._path = path
    try:
      flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
      self._file = os.fdopen(os.dup(1) if path == "-" else os.open(path, flags, 0o666), "wb", 0)
    except OSError as error:
      raise self._error(error) from error

  def __enter__(self) -> "Output":
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    traceback: TracebackType | None,
  ) -> None:
    self._file.close()

  def write(self, line: dict[str, Any]) -> None:
    """One line, at once.

    Raises:
      UserError: it cannot be written.
      SystemExit: nobody reads stdout any longer (`| head`).
    """
    data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
    written = 0
    try:
      while written < len(data):
        written += self._file.write(data[written:]) or 0
    except OSError as error:
      if self._path == "-" and isinstance(error, BrokenPipeError):
        sys.exit(128 + signal.SIGPIPE)  # as of other output that nobody reads any longer
      if written:
        self._cut(written)
      raise self._error(error) from error

  def _cut(self, length: int) -> None:
    with contextlib.suppress(OSError):  # no regular file
      self._file.truncate(self._file.tell() - length)

  def _error(self, error: OSError) -> UserError:
    return UserError(
      f"--output {self._path} cannot be written: {error.strerror or error}; accepted: a file in a "
      "directory with free space, or - for stdout"
    )
