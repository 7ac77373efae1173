"""Sums over a stream, and the figures at its end beside the cost model's."""

import dataclasses
from typing import Any

from meanet_jax.cost.energy import Shares
from meanet_jax.edge.comparison import Happened, compare
from meanet_jax.edge.manifest import Manifest
from meanet_jax.edge.results import Result
from meanet_jax.edge.times import Times
from meanet_jax.routing.rules import CLOUD, EXIT_NAMES, EXTENSION, MAIN


@dataclasses.dataclass
class Summary:
  """Sums over a stream; `figures` makes them means.

  adapts: whether online adaptation moves the thresholds. answered: images with an answer.
  unreadable: files without. exits: images that ended at main, extension and cloud. ran_extension:
  images for which it ran; extension_and_sent: and which were sent all the same. complex: images
  that the policy sends. sent: images that were sent, answered or not, monitored ones among them.
  fallbacks, monitored: by outcome. retries: attempts beyond the first. labelled, correct: images
  whose label is known, and those answered so. main, both: times on the edge where main alone ran,
  and where the extension ran as well. encode: of images that were sent. replied: from then on, of
  those that the cloud answered. service: of the edge, encoding and the cloud. latency: from taking
  an image up to its answer.
  """

  adapts: bool = False
  answered: int = 0
  unreadable: int = 0
  exits: list[int] = dataclasses.field(default_factory=lambda: [0, 0, 0])
  ran_extension: int = 0
  extension_and_sent: int = 0
  complex: int = 0
  sent: int = 0
  fallbacks: dict[str, int] = dataclasses.field(default_factory=dict)
  monitored: dict[str, int] = dataclasses.field(default_factory=dict)
  retries: int = 0
  bytes_up: int = 0
  bytes_down: int = 0
  labelled: int = 0
  correct: int = 0
  cloud_seconds: float = 0.0
  main: Times = dataclasses.field(default_factory=Times)
  both: Times = dataclasses.field(default_factory=Times)
  encode: Times = dataclasses.field(default_factory=Times)
  replied: Times = dataclasses.field(default_factory=Times)
  service: Times = dataclasses.field(default_factory=Times)
  latency: Times = dataclasses.field(default_factory=Times)

  def add(self, result: Result) -> None:
    """Counts an answer."""
    answer, reply = result.answer, result.reply
    ran = answer.extension is not None
    self.answered += 1
    self.exits[result.exit] += 1
    self.ran_extension += ran
    self.complex += answer.complex
    (self.both if ran else self.main).add(answer.seconds)
    self.latency.add(result.seconds)
    if result.item.label is not None:
      self.labelled += 1
      self.correct += result.prediction == result.item.label
    if result.monitored:
      self.monitored[result.monitored] = self.monitored.get(result.monitored, 0) + 1
    if result.fallback:
      self.fallbacks[result.fallback] = self.fallbacks.get(result.fallback, 0) + 1
    service = answer.seconds
    if reply is not None and reply.attempts:
      self.sent += 1
      self.extension_and_sent += ran
      self.retries += reply.attempts - 1
      self.bytes_up += reply.bytes_up
      self.bytes_down += reply.bytes_down
      self.encode.add(reply.encode_seconds)
      self.cloud_seconds += reply.cloud_seconds
      if reply.answer is not None:
        self.replied.add(reply.cloud_seconds)
      service += reply.encode_seconds + reply.cloud_seconds
    self.service.add(service)

  def figures(self, manifest: Manifest, seconds: float) -> dict[str, Any]:
    """Means over the images answered, and the cost model's figures for the same shares.

    The model's latency is of an image by itself, as `service_ms` is; `latency_ms` is what a stream
    makes of it, and contains waiting for a place in the window. `expected` is what edge.json has of
    the evaluation, and `checks` compares it with what happened; both None without an evaluation.

    Args:
      manifest: its constants and MACs.
      seconds: that the stream took.
    """
    n, sent = max(self.answered, 1), max(self.sent, 1)
    costs = manifest.cost_model
    shares = Shares(1.0, self.ran_extension / n, self.sent / n, self.extension_and_sent / n)
    predicted = costs.of(shares)
    as_sent = dataclasses.replace(costs, image_bytes=self.bytes_up / sent).of(shares)
    evaluated = manifest.evaluation
    checks = None if evaluated is None else compare(self._happened(), evaluated, manifest)
    return {
      "images": self.answered,
      "unreadable": self.unreadable,
      "accuracy": self.correct / self.labelled if self.labelled else None,
      "fraction": {
        name: self.exits[exit] / n
        for name, exit in zip(EXIT_NAMES, (MAIN, EXTENSION, CLOUD), strict=True)
      },
      "ran_extension": self.ran_extension / n,
      "complex": self.complex / n,
      "sent": self.sent / n,
      "fallbacks": self.fallbacks,
      "monitored": self.monitored,
      "audits": self.monitored,  # the older name
      "retries": self.retries,
      "seconds": seconds,
      "measured": {
        "bytes_up": self.bytes_up / n,
        "bytes_down": self.bytes_down / n,
        "service_ms": 1e3 * self.service.sum / n,
        "service_p95_ms": _milliseconds(self.service.quantile(0.95)),
        "latency_ms": 1e3 * self.latency.sum / n,
        "latency_p95_ms": _milliseconds(self.latency.quantile(0.95)),
        "edge_ms": 1e3 * (self.main.sum + self.both.sum) / n,
        "encode_ms_per_sent": 1e3 * self.encode.sum / sent,
        "cloud_ms_per_sent": 1e3 * self.cloud_seconds / sent,
      },
      "cost_model": dataclasses.asdict(predicted),
      "cost_model_with_bytes_as_sent": dataclasses.asdict(as_sent),
      "expected": None if evaluated is None else evaluated.to_json(),
      "checks": None if checks is None else [check._asdict() for check in checks],
    }

  def _happened(self) -> Happened:
    # No evaluation foresees other thresholds, or that the edge answers for the cloud.
    foreseen = not self.adapts and self.complex == self.exits[CLOUD]
    return Happened(
      images=self.answered,
      complex=None if self.adapts else self.complex,
      labelled=self.labelled if foreseen else 0,
      correct=self.correct if foreseen else 0,
      main=self.main,
      both=self.both,
      encode=self.encode,
      cloud=self.replied,
      bytes_per_sent=self.bytes_up / max(self.sent, 1),
    )


def _milliseconds(seconds: float | None) -> float | None:
  return None if seconds is None else 1e3 * seconds
