"""What a stream gives: a JSON line per image, and a summary beside the cost model's."""

import contextlib
import dataclasses
import json
import os
from types import TracebackType
from typing import Any, Literal, NamedTuple

import numpy as np

from meanet_jax.cost.energy import BlockMacs, image_cost, upload_bytes
from meanet_jax.edge.decisions import Answer
from meanet_jax.edge.inputs import Item
from meanet_jax.edge.link.replies import Fallback, Reply
from meanet_jax.edge.manifest import EDGE, Manifest
from meanet_jax.errors import UserError
from meanet_jax.routing.policies import CLOUD, EXTENSION, MAIN

EXIT_NAMES = ("main", "extension", "cloud")
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


def to_line(result: Result, manifest: Manifest) -> dict[str, Any]:
  """The fields of an image's line; docs/link.md tells them."""
  answer, reply, item = result.answer, result.reply, result.item
  encode, cloud = (reply.encode_seconds, reply.cloud_seconds) if reply else (0.0, 0.0)
  return {
    "id": item.number,
    "path": item.path,
    "class": result.prediction,
    "name": manifest.class_names[result.prediction],
    "exit": EXIT_NAMES[result.exit],
    "probability": round(result.probability, 6),
    "uncertainty": _written(answer.compared and answer.compared.uncertainty),
    "threshold": _written(answer.compared and answer.compared.threshold),
    "complex": answer.complex,
    "bytes_up": reply.bytes_up if reply else 0,
    "bytes_down": reply.bytes_down if reply else 0,
    "ms": {
      "edge": round(1e3 * answer.seconds, 4),
      "encode": round(1e3 * encode, 4),
      "cloud": round(1e3 * cloud, 4),
      "total": round(1e3 * result.seconds, 4),
    },
    "fallback": result.fallback,
    "agreement": result.monitored,
    "audit": result.monitored,  # the older name
    "label": item.label,
    "error": None,
  }


def _written(value: np.float32 | None) -> float | None:
  """In as many digits as tell this float32 from its neighbours: `complex` says which is larger."""
  return None if value is None else float(str(value))


def error_line(item: Item) -> dict[str, Any]:
  """The line of a file that cannot be read: the same fields, without an answer."""
  fields = ("path", "class", "name", "exit", "probability", "uncertainty", "threshold", "complex")
  after = ("ms", "fallback", "agreement", "audit", "label")
  return (
    {"id": item.number}
    | dict.fromkeys(fields)
    | {"bytes_up": 0, "bytes_down": 0}
    | dict.fromkeys(after)
    | {"path": item.path, "error": item.error}
  )


class Output:
  """JSON lines in a file, `-` for stdout. Use it as a context.

  A full disk leaves whole lines: what was begun is cut off again.
  """

  def __init__(self, path: str):
    self._path = path
    try:
      flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
      self._file = os.fdopen(os.dup(1) if path == "-" else os.open(path, flags, 0o666), "wb", 0)
    except OSError as error:
      raise self._error(error) from error

  def __enter__(self) -> "Output":
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    traceback: TracebackType | None,
  ) -> None:
    self._file.close()

  def write(self, line: dict[str, Any]) -> None:
    """One line, at once.

    Raises:
      UserError: it cannot be written.
    """
    data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
    written = 0
    try:
      while written < len(data):
        written += self._file.write(data[written:]) or 0
    except OSError as error:
      if written:
        self._cut(written)
      raise self._error(error) from error

  def _cut(self, length: int) -> None:
    with contextlib.suppress(OSError):  # no regular file
      self._file.truncate(self._file.tell() - length)

  def _error(self, error: OSError) -> UserError:
    return UserError(
      f"--output {self._path} cannot be written: {error.strerror or error}; accepted: a file in a "
      "directory with room, or - for stdout"
    )


@dataclasses.dataclass
class Summary:
  """Sums over a stream; `figures` makes them means.

  answered: images with an answer. unreadable: files without. exits: images that ended at main,
  extension and cloud. ran_extension: images for which it ran. sent: images that were sent, answered
  or not, monitored ones among them. fallbacks, monitored: by outcome. retries: attempts
  beyond the first. labelled, correct: images whose label is known, and those answered so.
  """

  answered: int = 0
  unreadable: int = 0
  exits: list[int] = dataclasses.field(default_factory=lambda: [0, 0, 0])
  ran_extension: int = 0
  sent: int = 0
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
      self.retries += reply.attempts - 1
      self.bytes_up += reply.bytes_up
      self.bytes_down += reply.bytes_down
      self.encode_seconds += reply.encode_seconds
      self.cloud_seconds += reply.cloud_seconds

  def figures(self, manifest: Manifest, seconds: float) -> dict[str, Any]:
    """Means over the images answered, and what the cost model says for the same shares.

    The model's latency is of an image by itself, as `service_ms` is; `latency_ms` is what a stream
    makes of it, and contains waiting for a place in the window.

    Args:
      manifest: its constants and MACs.
      seconds: that the whole stream took.
    """
    n, sent = max(self.answered, 1), max(self.sent, 1)
    signatures = manifest.files[EDGE].signatures
    macs = BlockMacs(signatures["main"].macs, signatures["extension"].macs, manifest.cloud_macs)
    predicted = image_cost(
      manifest.cost,
      macs,
      upload_bytes(manifest.cost, manifest.dataset),
      main_runs=1.0,
      extension_runs=self.ran_extension / n,
      offloads=self.sent / n,
    )
    as_sent = image_cost(
      manifest.cost, macs, self.bytes_up / sent, 1.0, self.ran_extension / n, self.sent / n
    )
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


def table(figures: dict[str, Any]) -> list[str]:
  """The figures for a person, line by line."""
  measured, model = figures["measured"], figures["cost_model"]
  as_sent = figures["cost_model_with_bytes_as_sent"]
  shares = ", ".join(f"{100 * share:.2f}% {name}" for name, share in figures["fraction"].items())
  lines = [
    f"{figures['images']} images in {figures['seconds']:.2f} s: {shares}; "
    f"{100 * figures['sent']:.2f}% sent"
  ]
  if figures["unreadable"]:
    lines.append(f"{figures['unreadable']} files could not be read")
  if figures["fallbacks"]:
    reasons = ", ".join(f"{count} {name}" for name, count in sorted(figures["fallbacks"].items()))
    lines.append(f"answered by the edge in the cloud's place: {reasons}")
  if figures["monitored"]:
    found = ", ".join(f"{count} {name}" for name, count in sorted(figures["monitored"].items()))
    lines.append(f"sent to monitor agreement: {found}")
  if agreement := figures.get("agreement"):
    lines.append(
      f"agreement with the cloud {100 * agreement['share']:.2f}% of the last "
      f"{agreement['num_images']}, at 95% within {100 * agreement['lower']:.2f}% to "
      f"{100 * agreement['upper']:.2f}%" + (": below the floor" if agreement["alarm"] else "")
    )
  for name, budget in figures.get("budgets", {}).items():
    lines.append(f"{name} {budget['target']:g}: spent {budget['mean']:.4g} per image")
  if figures["accuracy"] is not None:
    lines.append(f"accuracy {100 * figures['accuracy']:.2f}%")
  lines += [
    f"{'per image':<12}{'measured':>12}{'cost model':>12}{'as sent':>12}",
    f"{'bytes up':<12}{measured['bytes_up']:>12.1f}{model['bytes_up']:>12.1f}"
    f"{as_sent['bytes_up']:>12.1f}",
    f"{'time [ms]':<12}{measured['service_ms']:>12.3f}{model['latency_ms']:>12.3f}"
    f"{as_sent['latency_ms']:>12.3f}",
    f"{'and waiting':<12}{measured['latency_ms']:>12.3f}",
    f"{'energy [mJ]':<12}{'-':>12}{model['energy_mj']:>12.5f}{as_sent['energy_mj']:>12.5f}",
  ]
  return lines
