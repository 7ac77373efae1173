"""The errors that end a command with one line on stderr instead of a traceback."""

import difflib
import signal
from collections.abc import Iterable


def nearest(name: str, accepted: Iterable[str]) -> str:
  """`accepted` as text for a message, with the likely meaning first."""
  options = list(accepted)
  return f"{hint(name, options)}accepted: {', '.join(options)}"


def hint(name: str, accepted: Iterable[str]) -> str:
  """A question about the likely meaning, with a space after it; empty if nothing is close."""
  close = difflib.get_close_matches(name, list(accepted), n=1)
  return f"did you mean {close[0]!r}? " if close else ""


class UserError(Exception):
  """A wrong flag, field, file or shape. The command ends with status 2.

  The message is one line: what was wrong, what was found, what is accepted.

  everywhere: whether every process of the run raises it, so that none need wait for the others.
  """

  status = 2
  everywhere = False


class StoppedError(UserError):
  """A signal that asked the command to end. Its status is 128 and the signal's number."""

  def __init__(self, number: signal.Signals, where: str):
    """`where` follows "stopped by SIGNAL": what was reached, and what goes on from there."""
    super().__init__(number, where)  # what pickling makes it again from
    self.status = 128 + number

  def __str__(self) -> str:
    number, where = self.args
    return f"stopped by {number.name} {where}"


class UnmetConstraintsError(UserError):
  """An operating point that does not keep its constraints. The command ends with status 3."""

  status = 3


class TrainingStoppedError(StoppedError):
  """A signal during training: all is saved."""

  everywhere = True


class StreamStoppedError(StoppedError):
  """A signal while images are answered."""


class TrainingDivergedError(UserError):
  """Numbers that are not finite. The command ends with status 1; earlier checkpoints stay."""

  status = 1
  everywhere = True


class ProcessLostError(UserError):
  """Another process of the run ended in the middle of it. The command ends with status 1."""

  status = 1


class StdoutError(UserError):
  """Standard output that cannot be written, as where its disk is full, which is no run's disk."""


class VerificationError(UserError):
  """An exported file that does not do what JAX does. The command ends with status 1."""

  status = 1
