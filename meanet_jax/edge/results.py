"""An image's final answer, from the edge or from the cloud."""

from typing import Literal, NamedTuple

from meanet_jax.edge.decisions import Answer
from meanet_jax.edge.inputs import Item
from meanet_jax.edge.link.replies import Fallback, Reply
from meanet_jax.routing.rules import CLOUD

Monitored = Literal["agrees", "differs", "unanswered"]


class Result(NamedTuple):
  """An image's final answer.

  answer: the edge's own, of the main exit alone where the cloud answered and the extension was
  skipped. reply: of the cloud, None where it was not to be asked. monitored: whether the cloud
  agreed about an image that was sent to monitor agreement; the edge's answer stands in any case.
  seconds: from taking the image up to its answer.
  """

  item: Item
  answer: Answer
  reply: Reply | None
  monitored: Monitored | None
  seconds: float

  @property
  def exit(self) -> int:
    """`MAIN`, `EXTENSION` or `CLOUD`."""
    from_cloud = self.reply is not None and self.reply.answer is not None and not self.monitored
    return CLOUD if from_cloud else self.answer.exit

  @property
  def prediction(self) -> int:
    """Original class number."""
    return self.reply.answer.prediction if self.exit == CLOUD else self.answer.prediction

  @property
  def probability(self) -> float:
    """Of the class, by the exit that gave it."""
    if self.exit == CLOUD:
      return self.reply.answer.probability
    return float(self.answer.scores.max_prob)

  @property
  def fallback(self) -> Fallback | None:
    """Why the edge answers an image that is the cloud's."""
    return None if self.reply is None or self.monitored else self.reply.fallback
