"""Dynamic batching: images of concurrent requests share a run of the model.

KServe's own batcher sits in its agent, a sidecar on Kubernetes that joins the `instances` of V1
JSON requests; one process, gRPC and V2 have to batch for themselves.
"""

import asyncio
import concurrent.futures
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from meanet_jax.serving.metrics import Metrics

Run = Callable[[UInt8[np.ndarray, "n h w c"]], Float[np.ndarray, "n k"]]


class OverloadedError(Exception):
  """More images wait than the queue holds."""


class _Waiting(NamedTuple):
  """image: uint8 [h, w, c]. arrived: `time.monotonic()`. logits: gets float32 [k]."""

  image: UInt8[np.ndarray, "h w c"]
  arrived: float
  logits: "asyncio.Future[Float[np.ndarray, ' k']]"


class Batcher:
  """A queue of images and the one thread that runs the model on them.

  A batch starts when it is full, or when its first image has waited `max_wait`; while the model is
  busy with one batch the next fills, and has usually waited enough when its turn comes. An image
  whose request was cancelled is left out.
  """

  def __init__(self, run: Run, max_batch: int, max_wait: float, max_queue: int, metrics: Metrics):
    """Starts nothing yet.

    Args:
      run: from 1 to `max_batch` images to their logits; called by one thread at a time.
      max_batch: images per run.
      max_wait: seconds.
      max_queue: images that may wait.
      metrics: told of every batch.
    """
    self._run, self._max_batch, self._max_wait = run, max_batch, max_wait
    self._metrics, self._max_queue = metrics, max_queue
    self._queue: asyncio.Queue[_Waiting] = asyncio.Queue()
    self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="model")

  async def submit(self, images: UInt8[np.ndarray, "m h w c"]) -> Float[np.ndarray, "m k"]:
    """Logits of one request's images, which may be spread over several batches.

    Raises:
      OverloadedError: the queue is full.
    """
    if self._queue.qsize() + len(images) > self._max_queue:
      raise OverloadedError(f"{self._queue.qsize()} images wait; accepted: {self._max_queue}")
    loop, now = asyncio.get_running_loop(), time.monotonic()
    waiting = [_Waiting(image, now, loop.create_future()) for image in images]
    for item in waiting:
      self._queue.put_nowait(item)
    self._metrics.waiting.inc(len(waiting))
    try:
      return np.stack(await asyncio.gather(*(item.logits for item in waiting)))
    finally:
      for item in waiting:  # of a request that was cancelled
        item.logits.cancel()

  async def work(self) -> None:
    """Runs batches until it is cancelled, which must wait until no request is under way."""
    loop = asyncio.get_running_loop()
    while True:
      taken = await self._next_batch()
      self._metrics.waiting.dec(len(taken))
      batch = [item for item in taken if not item.logits.done()]
      if not batch:
        continue
      begun = time.monotonic()
      try:
        logits = await loop.run_in_executor(
          self._thread, self._run, np.stack([item.image for item in batch])
        )
      except Exception as error:  # the requests fail, the server goes on
        for item in batch:
          if not item.logits.done():
            item.logits.set_exception(error)
        continue
      for item, row in zip(batch, logits, strict=True):
        if not item.logits.done():
          item.logits.set_result(row)
      self._record(batch, begun)

  async def _next_batch(self) -> list[_Waiting]:
    batch = [await self._queue.get()]
    deadline = batch[0].arrived + self._max_wait
    while len(batch) < self._max_batch:
      if self._queue.empty():
        try:
          async with asyncio.timeout(deadline - time.monotonic()):
            batch.append(await self._queue.get())
        except TimeoutError:
          break
      else:
        batch.append(self._queue.get_nowait())
    return batch

  def _record(self, batch: list[_Waiting], begun: float) -> None:
    self._metrics.run.observe(time.monotonic() - begun)
    self._metrics.batch.observe(len(batch))
    self._metrics.images.inc(len(batch))
    for item in batch:
      self._metrics.wait.observe(begun - item.arrived)
