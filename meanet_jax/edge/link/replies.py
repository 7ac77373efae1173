"""What comes of asking the cloud. Standard library alone, for an edge without a cloud."""

import enum
from typing import NamedTuple


class CloudAnswer(NamedTuple):
  """The cloud's class, an original class number, and the probability that it gives it.

  logits: one per class; None where none were asked for, or the server gives none.
  """

  prediction: int
  probability: float
  logits: tuple[float, ...] | None = None


class Fallback(enum.StrEnum):
  """Why the edge answers an image that is the cloud's.

  late: no answer by the deadline. unreachable: no connection, or one that broke. full: the server
  has too much to do. refused: it answered with another error. wrong_shape: it answered with
  something else than was asked for. wrong_classes: with a class that does not exist, or with a
  model of other classes. circuit_open: it was not asked, because it failed several times in a row.
  withheld: it was not asked, because its answer could not be expected by the image's deadline.
  """

  LATE = "late"
  UNREACHABLE = "unreachable"
  FULL = "full"
  REFUSED = "refused"
  WRONG_SHAPE = "wrong_shape"
  WRONG_CLASSES = "wrong_classes"
  CIRCUIT_OPEN = "circuit_open"
  WITHHELD = "withheld"


class Reply(NamedTuple):
  """What came of asking.

  answer: None where there is a `fallback`. bytes_up, bytes_down: of the messages handed to gRPC and
  received, every attempt counted. encode_seconds, cloud_seconds: to make the bytes; from then on.
  """

  answer: CloudAnswer | None
  fallback: Fallback | None
  bytes_up: int
  bytes_down: int
  attempts: int
  encode_seconds: float
  cloud_seconds: float


# Of a cloud that is not asked.
NOT_ASKED = Reply(None, Fallback.CIRCUIT_OPEN, 0, 0, 0, 0.0, 0.0)
WITHHELD = NOT_ASKED._replace(fallback=Fallback.WITHHELD)
