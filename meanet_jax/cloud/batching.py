"""Dynamic batching: images of concurrent requests share a run of the model."""

import asyncio
import collections
import concurrent.futures
import dataclasses
import functools
import time
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Shaped, UInt8

from meanet_jax.cloud.limits import Limits
from meanet_jax.cloud.metrics import Metrics

Outputs = Mapping[str, Shaped[np.ndarray, "n ..."]]
Run = Callable[[UInt8[np.ndarray, "n h w c"]], Outputs]

# One that runs, and one behind it, so that the device need not wait for the event loop.
_IN_FLIGHT = 2


class OverloadedError(Exception):
  """More images wait than the queue holds."""


@dataclasses.dataclass(eq=False, slots=True)
class _Request:
  """images: uint8 [m, h, w, c]. arrived: `time.monotonic()`. taken: how many are in batches.

  answers: of the batches that were run, in order; done: gets them all.
  """

  images: UInt8[np.ndarray, "m h w c"]
  arrived: float
  done: "asyncio.Future[Outputs]"
  taken: int = 0
  answered: int = 0
  answers: list[Outputs] = dataclasses.field(default_factory=list)

  def answer(self, part: Outputs, count: int) -> None:
    """Keeps the outputs of the next `count` images; the last ones end the request."""
    self.answers.append(part)
    self.answered += count
    if self.answered == len(self.images) and not self.done.done():
      if len(self.answers) > 1:
        part = {name: np.concatenate([one[name] for one in self.answers]) for name in part}
      self.done.set_result(part)


_Batch = list[tuple[_Request, UInt8[np.ndarray, "_ h w c"]]]


class Batcher:
  """A queue of requests, and the one thread that runs the model on their images.

  While the model is idle a batch starts when it is full or its first request has waited `max_wait`;
  while the model is busy one full batch may queue behind it, and one that is not full goes on
  filling. A request that was cancelled is left out. All methods belong to one event loop.

  A batch between two compiled sizes is padded to the larger, or its last images stay for the next:
  whichever answers more images per second.
  """

  def __init__(self, run: Run, seconds: Mapping[int, float], limits: Limits, metrics: Metrics):
    """Starts nothing yet.

    Args:
      run: from 1 to `limits.max_batch` images to named outputs, a row for each image; called by one
        thread at a time.
      limits: `max_batch`, `max_wait` and `max_queue` of it.
      metrics: gets every batch.
    """
    self._run, self._seconds, self._limits, self._metrics = run, seconds, limits, metrics
    self._queue: collections.deque[_Request] = collections.deque()
    self._waiting = 0  # images
    self._in_flight = 0  # batches
    self._timer: asyncio.TimerHandle | None = None
    self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="model")

  def submit(self, images: UInt8[np.ndarray, "m h w c"]) -> "asyncio.Future[Outputs]":
    """The outputs of one request's images, which may be spread over several batches.

    Raises:
      OverloadedError: the queue is full.
    """
    most = self._limits.max_queue
    if self._waiting + len(images) > most:
      raise OverloadedError(f"{self._waiting} images wait; accepted: {most}")
    request = _Request(images, time.monotonic(), asyncio.get_running_loop().create_future())
    self._queue.append(request)
    self._count(len(images))
    self._start_batches()
    return request.done

  def _start_batches(self) -> None:
    """Starts what may start now; it is called whenever that may have changed."""
    while self._queue and self._in_flight < _IN_FLIGHT:
      if self._waiting < self._limits.max_batch:
        if self._in_flight:
          return
        left = self._queue[0].arrived + self._limits.max_wait - time.monotonic()
        if left > 0:
          if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(left, self._end_wait)
          return
      if batch := self._take():
        self._in_flight += 1
        asyncio.get_running_loop().run_in_executor(
          self._thread, self._execute, [images for _, images in batch]
        ).add_done_callback(functools.partial(self._finish, batch))

  def _end_wait(self) -> None:
    self._timer = None
    self._start_batches()

  def _take(self) -> _Batch:
    """The next requests with their images that are in the batch."""
    batch, left = [], self._size(self._waiting)
    while self._queue and left:
      request = self._queue[0]
      rest = request.images[request.taken :]
      if request.done.done():  # cancelled, or failed with its first images
        self._queue.popleft()
        self._count(-len(rest))
        continue
      part = rest[:left]
      batch.append((request, part))
      request.taken += len(part)
      left -= len(part)
      self._count(-len(part))
      if request.taken == len(request.images):
        self._queue.popleft()
    return batch

  def _size(self, waiting: int) -> int:
    """How many of the waiting images the next batch takes."""
    waiting = min(waiting, self._limits.max_batch)
    larger = min(size for size in self._seconds if size >= waiting)
    smaller = max((size for size in self._seconds if size < waiting), default=0)
    if not smaller or larger == waiting:
      return waiting
    splits = smaller / self._seconds[smaller] > waiting / self._seconds[larger]
    return smaller if splits else waiting

  def _execute(self, parts: list[UInt8[np.ndarray, "_ h w c"]]) -> tuple[Outputs, float, float]:
    """In the model's thread: the outputs, when it began, and how long it took."""
    begun = time.monotonic()
    outputs = self._run(parts[0] if len(parts) == 1 else np.concatenate(parts))
    return outputs, begun, time.monotonic() - begun

  def _finish(self, batch: _Batch, ran: "asyncio.Future[tuple[Outputs, float, float]]") -> None:
    self._in_flight -= 1
    if error := ran.exception():  # the requests fail, the server goes on
      for request, _ in batch:
        if not request.done.done():
          request.done.set_exception(error)
      self._start_batches()
      return
    self._start_batches()  # before anything else, so that the model need not wait
    outputs, begun, seconds = ran.result()
    start = 0
    for request, part in batch:
      stop = start + len(part)
      request.answer({name: values[start:stop] for name, values in outputs.items()}, len(part))
      self._metrics.wait.observe(begun - request.arrived)
      start = stop
    self._metrics.run.observe(seconds)
    self._metrics.batch.observe(start)
    self._metrics.images.inc(start)

  def _count(self, more: int) -> None:
    self._waiting += more
    self._metrics.waiting.set(self._waiting)
