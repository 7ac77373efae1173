"""Sums over a stream, and the figures at its end beside the cost model's."""

import dataclasses
from typing import Any

from meanet_jax.cost.energy import BlockMacs, Shares, image_cost, upload_bytes
from meanet_jax.edge.manifest import EDGE, Manifest
from meanet_jax.edge.results import EXIT_NAMES, Result
from meanet_jax.routing.policies import CLOUD, EXTENSION, MAIN


@dataclasses.dataclass
class Summary:
  """Sums over a stream; `figures` makes them means.

  answered: images with an answer. unreadable: files without. exits: images that ended at main,
  extension and cloud. ran_extension: images for which it ran. sent: images that were sent, answered
  or not, monitored ones among them; extension_and_sent: for which both holds. fallbacks, monitored:
  by outcome. retries: attempts beyond the first. labelled, correct: images whose label is known,
  and those answered so.
  """

  answered: int = 0
  unreadable: int = 0
  exits: list[int] = dataclasses.field(default_factory=lambda: [0, 0, 0])
  ran_extension: int = 0
  sent: int = 0
  extension_and_sent: int = 0
  fallbacks: dict[str, int] = dataclasses.field(default_factory=dict)
  monitored: dict[str, int] = dataclasses.field(default_factory=dict)
  retries: int = 0
  bytes_up: int = 0
  bytes_down: int = 0
  labelled: int = 0
  correct: int = 0
  edge_seconds: float = 0.0
  encode_seconds: float = 0.0
  cloud_seconds: float = 0.0
  total_seconds: float = 0.0

  def add(self, result: Result) -> None:
    """Counts an answer."""
    answer, reply = result.answer, result.reply
    self.answered += 1
    self.exits[result.exit] += 1
    self.ran_extension += answer.extension is not None
    self.edge_seconds += answer.seconds
    self.total_seconds += result.seconds
    if result.item.label is not None:
      self.labelled += 1
      self.correct += result.prediction == result.item.label
    if result.monitored:
      self.monitored[result.monitored] = self.monitored.get(result.monitored, 0) + 1
    if result.fallback:
      self.fallbacks[result.fallback] = self.fallbacks.get(result.fallback, 0) + 1
    if reply is not None and reply.attempts:
      self.sent += 1
      self.extension_and_sent += answer.extension is not None
      self.retries += reply.attempts - 1
      self.bytes_up += reply.bytes_up
      self.bytes_down += reply.bytes_down
      self.encode_seconds += reply.encode_seconds
      self.cloud_seconds += reply.cloud_seconds

  def figures(self, manifest: Manifest, seconds: float) -> dict[str, Any]:
    """Means over the images answered, and the cost model's figures for the same shares.

    The model's latency is of an image by itself, as `service_ms` is; `latency_ms` is what a stream
    makes of it, and contains waiting for a place in the window.

    Args:
      manifest: its constants and MACs.
      seconds: that the stream took.
    """
    n, sent = max(self.answered, 1), max(self.sent, 1)
    signatures = manifest.files[EDGE].signatures
    macs = BlockMacs(signatures["main"].macs, signatures["extension"].macs, manifest.cloud_macs)
    shares = Shares(1.0, self.ran_extension / n, self.sent / n, self.extension_and_sent / n)
    image_bytes = upload_bytes(manifest.cost, manifest.dataset)
    predicted = image_cost(manifest.cost, macs, image_bytes, shares)
    as_sent = image_cost(manifest.cost, macs, self.bytes_up / sent, shares)
    return {
      "images": self.answered,
      "unreadable": self.unreadable,
      "accuracy": self.correct / self.labelled if self.labelled else None,
      "fraction": {
        name: self.exits[exit] / n
        for name, exit in zip(EXIT_NAMES, (MAIN, EXTENSION, CLOUD), strict=True)
      },
      "ran_extension": self.ran_extension / n,
      "sent": self.sent / n,
      "fallbacks": self.fallbacks,
      "monitored": self.monitored,
      "audits": self.monitored,  # the older name
      "retries": self.retries,
      "seconds": seconds,
      "measured": {
        "bytes_up": self.bytes_up / n,
        "bytes_down": self.bytes_down / n,
        "service_ms": 1e3 * (self.edge_seconds + self.encode_seconds + self.cloud_seconds) / n,
        "latency_ms": 1e3 * self.total_seconds / n,
        "edge_ms": 1e3 * self.edge_seconds / n,
        "encode_ms_per_sent": 1e3 * self.encode_seconds / sent,
        "cloud_ms_per_sent": 1e3 * self.cloud_seconds / sent,
      },
      "cost_model": dataclasses.asdict(predicted),
      "cost_model_with_bytes_as_sent": dataclasses.asdict(as_sent),
    }
