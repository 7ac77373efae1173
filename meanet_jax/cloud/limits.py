"""What one server takes on."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limits:
  """What is refused beyond it.

  max_batch: images per run of the model. max_wait: seconds that the first image of a batch waits
  for others. max_queue: images that may wait, and requests under way per protocol. max_images,
  max_bytes: per request. max_json: bytes of its JSON, which costs far more than as many bytes of a
  tensor. grace: seconds that accepted requests have to finish once the server is told to stop.
  held_bytes: of the bodies of all requests under way. body_seconds: in which a REST request's body
  must have arrived. head_seconds: the same for what comes before it, from the connection on.
  """

  max_batch: int
  max_wait: float
  max_queue: int
  max_images: int
  max_bytes: int
  max_json: int
  grace: float
  held_bytes: int = 512_000_000
  body_seconds: float = 30.0
  head_seconds: float = 10.0


class Room:
  """A number of things that may be held at once."""

  def __init__(self, most: int):
    self.most, self._taken = most, 0

  def take(self, count: int) -> bool:
    """Whether there was room for so many more, which are then held."""
    if self._taken + count > self.most:
      return False
    self._taken += count
    return True

  def give(self, count: int) -> None:
    """So many are held no longer."""
    self._taken -= count
