"""The deadline of every image of a stream: which are sent, and what became of it.

The rule is `routing/online/deadline.py`; its state is kept here.
"""

import math
import time
from typing import Any

import numpy as np

from meanet_jax.edge.classifier import EdgeClassifier
from meanet_jax.edge.link.replies import Fallback, Reply
from meanet_jax.routing.online import deadline as rules

_RUNS = 3  # of which the fastest counts, after one that allocates


class DeadlineGate:
  """Says whether an image may be sent, from the round trips of those before it."""

  def __init__(self, deadline: rules.Deadline, edge_seconds: float):
    """The state before the first image.

    Args:
      deadline: of every image.
      edge_seconds: that the edge takes by itself (`edge_seconds`).

    Raises:
      UserError: a deadline that the edge alone cannot meet.
    """
    rules.check_deadline("--deadline-ms", deadline, edge_seconds)
    self._deadline, self._edge_seconds = deadline, edge_seconds
    self._trips = rules.RoundTrips()
    self._withheld = 0

  def may_send(self, elapsed: float = 0.0) -> bool:
    """Whether an image may be sent that was taken up `elapsed` seconds ago.

    At least the edge's own time is taken off, for it passes before the image is sent.
    """
    return rules.may_send(self._deadline, self._trips, max(elapsed, self._edge_seconds))

  def left(self, elapsed: float) -> float:
    """Seconds until the deadline of an image that was taken up `elapsed` seconds ago."""
    return self._deadline.seconds - elapsed

  def record_reply(self, reply: Reply) -> None:
    """Called with what came of every image that was sent or withheld."""
    if reply.fallback is Fallback.WITHHELD:
      self._withheld += 1
      self._trips = rules.record_withheld(self._deadline, self._trips)
    elif reply.fallback is Fallback.LATE:
      self._trips = rules.record_round_trip(self._deadline, self._trips, math.inf)
    elif reply.answer is not None:
      seconds = reply.encode_seconds + reply.cloud_seconds
      self._trips = rules.record_round_trip(self._deadline, self._trips, seconds)

  def figures(self) -> dict[str, Any]:
    """For the summary: the deadline, images withheld for it, and the newest round trips."""
    expected = rules.upper_round_trip(self._deadline, self._trips)
    return {
      "deadline": {
        "ms": 1e3 * self._deadline.seconds,
        "edge_ms": 1e3 * self._edge_seconds,
        "withheld": self._withheld,
        "quantile": self._deadline.quantile,
        "round_trips": len(self._trips.seconds),
        "round_trip_ms": (None if expected is None or math.isinf(expected) else 1e3 * expected),
      }
    }


def edge_seconds(classifier: EdgeClassifier) -> float:
  """Seconds that main and extension take for a batch of black images, as the fastest of a few."""
  images = np.zeros((1, *classifier.manifest.image_shape), np.uint8)
  classifier.outputs(images)
  taken = []
  for _ in range(_RUNS):
    begun = time.perf_counter()
    classifier.outputs(images)
    taken.append(time.perf_counter() - begun)
  return min(taken)
