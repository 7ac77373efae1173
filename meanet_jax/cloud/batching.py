"""Dynamic batching: images of concurrent requests share a run of the model.

KServe's own batcher sits in its agent, a sidecar on Kubernetes that joins the `instances` of V1
JSON requests; one process, gRPC and V2 have to batch for themselves.
"""

import asyncio
import collections
import concurrent.futures
import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Shaped, UInt8

from meanet_jax.cloud.metrics import Metrics

Outputs = Mapping[str, Shaped[np.ndarray, "n ..."]]
Run = Callable[[UInt8[np.ndarray, "n h w c"]], Outputs]


class OverloadedError(Exception):
  """More images wait than the queue holds."""


@dataclasses.dataclass(eq=False)
class _Request:
  """images: uint8 [m, h, w, c]. arrived: `time.monotonic()`. taken: how many are in batches.

  answers: of the batches that were run, in order; done: gets them all.
  """

  images: UInt8[np.ndarray, "m h w c"]
  arrived: float
  done: "asyncio.Future[Outputs]"
  taken: int = 0
  answers: list[Outputs] = dataclasses.field(default_factory=list)

  def answer(self, part: Outputs) -> None:
    """Keeps the answers of the next images; the last ones end the request."""
    self.answers.append(part)
    answered = sum(len(next(iter(part.values()))) for part in self.answers)
    if answered == len(self.images) and not self.done.done():
      if len(self.answers) > 1:
        part = {name: np.concatenate([one[name] for one in self.answers]) for name in part}
      self.done.set_result(part)


class Batcher:
  """A queue of requests and the one thread that runs the model on their images.

  A batch starts when it is full, or when its first request has waited `max_wait`; while the model
  is busy with one batch the next fills, and has usually waited enough when its turn comes. A
  request that was cancelled is left out.
  """

  def __init__(self, run: Run, max_batch: int, max_wait: float, max_queue: int, metrics: Metrics):
    """Starts nothing yet.

    Args:
      run: from 1 to `max_batch` images to named outputs, a row for each image; called by one thread
        at a time.
      max_batch: images per run.
      max_wait: seconds.
      max_queue: images that may wait.
      metrics: told of every batch.
    """
    self._run, self._max_batch, self._max_wait = run, max_batch, max_wait
    self._metrics, self._max_queue = metrics, max_queue
    self._queue: collections.deque[_Request] = collections.deque()
    self._waiting = 0  # images
    self._arrival = asyncio.Event()
    self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="model")

  async def submit(self, images: UInt8[np.ndarray, "m h w c"]) -> Outputs:
    """The outputs of one request's images, which may be spread over several batches.

    Raises:
      OverloadedError: the queue is full.
    """
    if self._waiting + len(images) > self._max_queue:
      raise OverloadedError(f"{self._waiting} images wait; accepted: {self._max_queue}")
    request = _Request(images, time.monotonic(), asyncio.get_running_loop().create_future())
    self._queue.append(request)
    self._count(len(images))
    self._arrival.set()
    return await request.done

  async def work(self) -> None:
    """Runs batches until it is cancelled, which must wait until no request is under way."""
    loop = asyncio.get_running_loop()
    while True:
      await self._enough()
      batch = self._take()
      if not batch:
        continue
      images = np.concatenate([images for _, images in batch])
      begun = time.monotonic()
      try:
        outputs = await loop.run_in_executor(self._thread, self._run, images)
      except Exception as error:  # the requests fail, the server goes on
        for request, _ in batch:
          if not request.done.done():
            request.done.set_exception(error)
        continue
      start = 0
      for request, part in batch:
        rows = slice(start, start + len(part))
        request.answer({name: values[rows] for name, values in outputs.items()})
        start = rows.stop
      self._record(batch, begun)

  async def _enough(self) -> None:
    """Waits for a whole batch, but not longer than the first request may wait."""
    while not self._queue:
      self._arrival.clear()
      await self._arrival.wait()
    left = self._queue[0].arrived + self._max_wait - time.monotonic()
    with contextlib.suppress(TimeoutError):
      async with asyncio.timeout(left):
        while self._waiting < self._max_batch:
          self._arrival.clear()
          await self._arrival.wait()

  def _take(self) -> list[tuple[_Request, UInt8[np.ndarray, "k h w c"]]]:
    """The next requests with their images that are in the batch."""
    batch, room = [], self._max_batch
    while self._queue and room:
      request = self._queue[0]
      rest = request.images[request.taken :]
      if request.done.done():  # cancelled, or failed with its first images
        self._queue.popleft()
        self._count(-len(rest))
        continue
      part = rest[:room]
      batch.append((request, part))
      request.taken += len(part)
      room -= len(part)
      self._count(-len(part))
      if request.taken == len(request.images):
        self._queue.popleft()
    return batch

  def _count(self, more: int) -> None:
    self._waiting += more
    self._metrics.waiting.set(self._waiting)

  def _record(self, batch: list[tuple[_Request, np.ndarray]], begun: float) -> None:
    images = sum(len(part) for _, part in batch)
    self._metrics.run.observe(time.monotonic() - begun)
    self._metrics.batch.observe(images)
    self._metrics.images.inc(images)
    for request, _ in batch:
      self._metrics.wait.observe(begun - request.arrived)
