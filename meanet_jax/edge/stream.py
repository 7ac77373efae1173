"""From images to answers, offloads under way while the next images are classified.

Every image gets exactly one answer: the cloud's, or the edge's own when the cloud is late,
cannot be reached, or gives an invalid answer.
"""

import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from meanet_jax.edge.classifier import EdgeClassifier
from meanet_jax.edge.combination import final_answer, fuses_cloud
from meanet_jax.edge.deadline_gate import DeadlineGate
from meanet_jax.edge.decisions import EdgeDecision
from meanet_jax.edge.inputs import Item
from meanet_jax.edge.link.replies import NOT_ASKED, WITHHELD, CloudAnswer, Reply
from meanet_jax.edge.results import Monitored, Result
from meanet_jax.routing.policies import Thresholds
from meanet_jax.stdout import say_on_stderr


@runtime_checkable
class Asks(Protocol):
  """`Offloader`, which imports gRPC: an edge without a cloud does not need that."""

  window: int
  in_flight: int

  def ready(self) -> bool:
    """See `Offloader`."""
    ...

  def submit(
    self, key: Hashable, number: int, image: np.ndarray, seconds: float | None = None
  ) -> None:
    """See `Offloader`."""
    ...

  def finished(self, wait: bool) -> tuple[Hashable, Reply] | None:
    """See `Offloader`."""
    ...


@runtime_checkable
class Adaptation(Protocol):
  """Online adaptation: changes thresholds while the stream runs."""

  def thresholds(self) -> Thresholds | None:
    """For the next image; None for the export's."""
    ...

  def monitors(self, number: int, complex: bool) -> bool:
    """Whether an image that the edge would keep is sent to monitor agreement."""
    ...

  def record_decision(self, number: int, sent: bool, ran_extension: bool) -> None:
    """Called for every image that could have been sent, before it is."""
    ...

  def record_result(self, result: Result) -> None:
    """Called for every final answer."""
    ...


class _BatchAdaptation:
  """Adapts thresholds image by image within a batch, from the results of earlier images."""

  def __init__(self, adaptation: Adaptation, batch: list[Item], reachable: bool):
    self._adaptation, self._batch, self._reachable = adaptation, batch, reachable
    self.monitored = [False] * len(batch)

  def thresholds(self) -> Thresholds | None:
    """See `BatchThresholds`."""
    return self._adaptation.thresholds()

  def record_decision(self, row: int, complex: bool, ran_extension: bool) -> None:
    """See `BatchThresholds`."""
    if self._reachable:
      number = self._batch[row].number
      self.monitored[row] = self._adaptation.monitors(number, complex)
      self._adaptation.record_decision(number, complex or self.monitored[row], ran_extension)


class _Waiting(NamedTuple):
  item: Item
  decision: EdgeDecision
  monitored: bool
  begun: float


class Stream:
  """One pass over images."""

  def __init__(
    self,
    edge: EdgeClassifier,
    give: Callable[[Result], None],
    offloader: Asks | None = None,
    adaptation: Adaptation | None = None,
    gate: DeadlineGate | None = None,
  ):
    """Begins nothing.

    Args:
      edge: classifies, in the caller's thread.
      give: takes each answer as soon as it is there, which is not the order of the images.
      offloader: asks the cloud; None where there is none, and the edge answers everything.
      adaptation: changes thresholds and picks images to monitor; None changes nothing.
      gate: of the images' deadline; None where the offloader's own deadline is the only one.
    """
    self._edge, self._give = edge, give
    self._offloader, self._adaptation, self._gate = offloader, adaptation, gate
    self._waiting: dict[int, _Waiting] = {}
    self._misses_logits = False  # and has said so

  def run(self, items: Iterable[Item]) -> None:
    """Answers all images, whose numbers are distinct. Items without an image are skipped."""
    for batch in _batches(items, self._edge.manifest.batch_size):
      self._settle_finished()
      self._take(batch)
    while self._waiting:
      self._settle_next()

  def _take(self, batch: list[Item]) -> None:
    begun = time.perf_counter()
    ready = self._offloader is not None and self._offloader.ready()
    # While the gate is closed budgets stay as they are, as with a cloud that cannot be reached.
    reachable = ready and self._may_send(0.0)
    not_sent = WITHHELD if ready else NOT_ASKED
    adaptation = self._adaptation
    batch_thresholds = (
      None if adaptation is None else _BatchAdaptation(adaptation, batch, reachable)
    )
    images = np.stack([item.image for item in batch]) if len(batch) > 1 else batch[0].image[None]
    decisions = self._edge.decide(images, online=batch_thresholds, skip_extension=reachable)
    for row, (item, one) in enumerate(zip(batch, decisions, strict=True)):
      monitor = batch_thresholds is not None and batch_thresholds.monitored[row]
      if reachable and (one.answer.complex or monitor):
        self._send(_Waiting(item, one, monitor, begun))
      else:
        reply = not_sent if one.answer.complex and self._offloader is not None else None
        self._finish(_Waiting(item, one, False, begun), reply)

  def _send(self, waiting: _Waiting) -> None:
    offloader = self._offloader
    while offloader.in_flight >= offloader.window:
      self._settle_next()
    elapsed = time.perf_counter() - waiting.begun
    ready = offloader.ready()  # it may have failed while this image waited for its place
    if not ready or not self._may_send(elapsed):
      reply = WITHHELD if ready else NOT_ASKED
      self._finish(waiting, None if waiting.monitored else reply)
      return
    number = waiting.item.number
    self._waiting[number] = waiting
    left = None if self._gate is None else self._gate.left(elapsed)
    offloader.submit(number, number, waiting.decision.image, left)

  def _may_send(self, elapsed: float) -> bool:
    return self._gate is None or self._gate.may_send(elapsed)

  def _settle_finished(self) -> None:
    while self._waiting and (found := self._offloader.finished(wait=False)):
      self._finish(self._waiting.pop(found[0]), found[1])

  def _settle_next(self) -> None:
    found = self._offloader.finished(wait=True)
    assert found is not None  # something is under way
    self._finish(self._waiting.pop(found[0]), found[1])

  def _finish(self, waiting: _Waiting, reply: Reply | None) -> None:
    answer, monitored = waiting.decision.answer, None
    if waiting.monitored:
      monitored = _outcome(answer.prediction, reply)
    elif reply is not None and reply.answer is None:
      answer = self._edge.answer_alone(waiting.decision)
    elif reply is not None:
      reply = reply._replace(answer=self._final_answer(waiting.decision, reply.answer))
    seconds = time.perf_counter() - waiting.begun
    result = Result(waiting.item, answer, reply, monitored, seconds)
    if self._gate is not None and reply is not None:
      self._gate.record_reply(reply)
    if self._adaptation is not None:
      self._adaptation.record_result(result)
    self._give(result)

  def _final_answer(self, decision: EdgeDecision, cloud: CloudAnswer) -> CloudAnswer:
    """That of edge and cloud together where the policy fuses them; the cloud's own elsewhere."""
    point = self._edge.operating_point
    if fuses_cloud(point) and cloud.logits is None and not self._misses_logits:
      self._misses_logits = True
      say_on_stderr(
        "warning: the cloud gives no logits, with which the policy's cloud_rule 'fused' combines "
        "its answer; the cloud's class replaces the edge's"
      )
    return final_answer(point, decision, cloud)


def _outcome(prediction: int, reply: Reply | None) -> Monitored:
  if reply is None or reply.answer is None:
    return "unanswered"
  return "agrees" if reply.answer.prediction == prediction else "differs"


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
  batch: list[Item] = []
  for item in items:
    if item.image is None:
      continue
    batch.append(item)
    if len(batch) == size:
      yield batch
      batch = []
  if batch:
    yield batch
