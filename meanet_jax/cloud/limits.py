"""What one server takes on."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limits:
  """What is refused beyond it.

  Attributes:
    max_batch: images per run of the model.
    max_wait: seconds that the first image of a batch waits for others.
    max_queue: images that may wait, and calls under way.
    max_images: per request.
    max_bytes: of a message.
    grace: seconds that accepted calls have to finish once the server is asked to stop.
    held_bytes: of the messages of all calls under way, once they have arrived.
    handshake_seconds: within which a connection has to speak HTTP/2, and TLS where that is on.
    idle_seconds: after which a connection without calls is closed; gRPC's clients reconnect.
  """

  max_batch: int
  max_wait: float
  max_queue: int
  max_images: int
  max_bytes: int
  grace: float
  held_bytes: int = 512_000_000
  handshake_seconds: float = 10.0
  idle_seconds: float = 300.0
