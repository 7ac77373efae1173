"""The errors that end a command with one line on stderr instead of a traceback."""


class UserError(Exception):
  """A wrong flag, field, file or shape. The command ends with status 2.

  The message is one line: what was wrong, what was found, what is accepted.

  everywhere: whether every process of the run raises it, so that none need wait for the others.
  """

  status = 2
  everywhere = False


class TrainingStoppedError(UserError):
  """SIGTERM during training. The command ends with status 143, which is 128 + 15."""

  status = 143
  everywhere = True


class StreamStoppedError(UserError):
  """A signal while images are answered. The command ends with status 128 and its number."""

  def __init__(self, message: str, number: int):
    super().__init__(message)
    self.status = 128 + number


class TrainingDivergedError(UserError):
  """Numbers that are not finite. The command ends with status 1; earlier checkpoints stay."""

  status = 1
  everywhere = True


class MeetingError(UserError):
  """The processes of a run did not meet: one did not come, or is wrong. All that met raise it."""


class ProcessLostError(UserError):
  """Another process of the run ended in the middle of it. The command ends with status 1."""

  status = 1


class VerificationError(UserError):
  """An exported file that does not do what JAX does. The command ends with status 1."""

  status = 1
