"""TensorBoard's events: the lines of metrics.jsonl and timing.jsonl once more, as scalars."""

import importlib.util
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from meanet_jax.errors import UserError

_PLACE = ("stage", "step", "epoch")


def check_installed() -> None:
  """Refuses events where the package that writes them is missing."""
  if importlib.util.find_spec("tensorboardX") is None:
    raise UserError(
      "flag --tensorboard: the package tensorboardX is missing; "
      "accepted: after pip install 'meanet_jax[tensorboard]'"
    )


class Events:
  """The events of one stage, written by a thread of tensorboardX's.

  They begin with `lines`, those that earlier processes wrote and that still count: what is in the
  directory is replaced, so that no step stands there twice however often a run was stopped.
  """

  def __init__(self, path: Path, lines: Iterable[dict[str, Any]]):
    import tensorboardX  # an extra

    shutil.rmtree(path, ignore_errors=True)
    self._writer = tensorboardX.SummaryWriter(str(path))
    for line in lines:
      self._add(line)
    self._writer.flush()

  def write(self, line: dict[str, Any]) -> None:
    """A scalar for every value of a line, at its step."""
    self._add(line)
    self._writer.flush()

  def close(self) -> None:
    """Ends the file."""
    self._writer.close()

  def _add(self, line: dict[str, Any]) -> None:
    for name, value in line.items():
      if name not in _PLACE:
        self._writer.add_scalar(name, value, line["step"])
