"""Asking the cloud without waiting for it: a bounded window, deadlines, retries, circuit breaking.

Threads ask, one image each; the caller collects what came of it whenever it likes. Retries are
tenacity's and the circuit breaker is pybreaker's.
"""

import math
import queue
import time
from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import grpc
import numpy as np
import pybreaker
import tenacity
from tritonclient.grpc import service_pb2 as protocol

from meanet_jax.edge.link.connection import Address, Connection, Expected
from meanet_jax.edge.link.encoding import Encoding, encode
from meanet_jax.edge.link.messages import BadAnswerError, read_answer
from meanet_jax.edge.link.replies import CloudAnswer, Fallback, Reply
from meanet_jax.protocol import LOGITS


class RetryPolicy(NamedTuple):
  """deadline: seconds from handing an image over to its answer, over all attempts. attempts: at
  most. failures: images in a row after which the circuit opens and the cloud is not asked.
  reset_timeout: seconds until one image tries again.
  """

  deadline: float = 0.5
  attempts: int = 3
  failures: int = 5
  reset_timeout: float = 1.0


_FALLBACKS = {
  grpc.StatusCode.DEADLINE_EXCEEDED: Fallback.LATE,
  grpc.StatusCode.UNAVAILABLE: Fallback.UNREACHABLE,
  grpc.StatusCode.RESOURCE_EXHAUSTED: Fallback.FULL,
  # What a connection that breaks in the middle of an answer looks like.
  grpc.StatusCode.CANCELLED: Fallback.UNREACHABLE,
  grpc.StatusCode.INTERNAL: Fallback.UNREACHABLE,
  grpc.StatusCode.UNKNOWN: Fallback.UNREACHABLE,
}
_RETRIED = (Fallback.UNREACHABLE, Fallback.FULL)
# pybreaker's own timeout follows the wall clock, which a device may set back by hours. A negative
# value turns it off; the time is kept here.
_NO_RESET = -1e9


class _FailedError(Exception):
  """One attempt's end."""

  def __init__(self, fallback: Fallback):
    super().__init__(fallback)
    self.fallback = fallback


class _Traffic:
  """What one image has cost so far."""

  def __init__(self) -> None:
    self.up = self.down = self.attempts = 0


class Offloader(pybreaker.CircuitBreakerListener):
  """Sends images to one server; at most `window` are under way."""

  def __init__(
    self, address: Address, expected: Expected, window: int, retry_policy: RetryPolicy | None = None
  ):
    """Connects when the first image is sent.

    Args:
      address: of the server.
      expected: what it has to agree with.
      window: images under way.
      retry_policy: of every image; the default one if None.
    """
    self._address, self._expected, self.window = address, expected, window
    self._retry_policy = retry_policy or RetryPolicy()
    self._connection = Connection(address)
    self._breaker = pybreaker.CircuitBreaker(
      fail_max=self._retry_policy.failures,
      reset_timeout=_NO_RESET,
      throw_new_error_on_trip=False,
      listeners=[self],
    )
    self._retrying = tenacity.Retrying(
      retry=tenacity.retry_if_exception(
        lambda error: isinstance(error, _FailedError) and error.fallback in _RETRIED
      ),
      wait=tenacity.wait_random_exponential(multiplier=0.02, max=0.5),
      reraise=True,
    )
    self._pool = ThreadPoolExecutor(window, thread_name_prefix="offload")
    self._finished: queue.SimpleQueue[tuple[Hashable, Reply | BaseException]] = queue.SimpleQueue()
    self._trying = False  # an image is finding out whether the cloud is back
    self._reset_at = 0.0
    self.in_flight = 0
    self.opened = 0
    pixels = bytes(math.prod(expected.shape))
    # Of one raw image.
    self.message_bytes = expected._replace(encoding=Encoding()).request(0, pixels).ByteSize()

  def ready(self) -> bool:
    """Whether the next image may be sent, apart from the window. False while the circuit is open,
    but for one image at a time after `reset_timeout`.
    """
    if self._breaker.current_state == pybreaker.STATE_CLOSED:
      return True
    return not self._trying and not self._circuit_is_open()

  def _circuit_is_open(self) -> bool:
    return self._breaker.current_state == pybreaker.STATE_OPEN and time.monotonic() < self._reset_at

  def open_circuit(self) -> None:
    """Opens the circuit, as after failures, for a cloud that cannot be reached."""
    self._breaker.open()

  def submit(
    self, key: Hashable, number: int, image: np.ndarray, seconds: float | None = None
  ) -> None:
    """Sends an image, uint8 [h, w, c], in the background; `finished` returns what came of it.

    Args:
      key: returned with the reply.
      number: of the request.
      image: which must not change until then.
      seconds: until its deadline; None for the retry policy's.
    """
    self._trying = self._breaker.current_state != pybreaker.STATE_CLOSED
    self.in_flight += 1
    seconds = float(self._retry_policy.deadline if seconds is None else seconds)
    self._pool.submit(self._work, key, number, image, seconds)

  def finished(self, wait: bool) -> tuple[Hashable, Reply] | None:
    """One image's key and what came of it; None if nothing is there.

    Args:
      wait: for the next, if any is under way. Every image has a deadline, so it comes.
    """
    try:
      key, reply = self._finished.get(block=wait and self.in_flight > 0)
    except queue.Empty:
      return None
    self.in_flight -= 1
    if self._trying:
      self._trying = self.in_flight > 0
    if isinstance(reply, BaseException):  # a defect, which is not to look like a slow network
      raise reply
    return key, reply

  def close(self) -> None:
    """Gives up whatever is under way."""
    self._connection.close()
    self._pool.shutdown(wait=True, cancel_futures=True)

  def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:  # noqa: ARG002
    """Called by the breaker."""
    if new_state.name == pybreaker.STATE_OPEN:
      self.opened += old_state.name != pybreaker.STATE_OPEN  # stragglers fail too
      self._reset_at = time.monotonic() + self._retry_policy.reset_timeout
    elif new_state.name == pybreaker.STATE_HALF_OPEN:
      # What is left of the old connection may be a peer that no longer exists.
      self._connection = Connection(self._address)

  def _work(self, key: Hashable, number: int, image: np.ndarray, seconds: float) -> None:
    try:
      self._finished.put((key, self._ask(number, image, seconds)))
    except BaseException as error:
      self._finished.put((key, error))

  def _ask(self, number: int, image: np.ndarray, seconds: float) -> Reply:
    begun = time.perf_counter()
    deadline = begun + seconds
    expected, traffic = self._expected, _Traffic()
    data = encode(expected.encoding, image)
    request = expected.request(number, data)
    encoded = time.perf_counter()
    answer = fallback = None
    try:
      if self._circuit_is_open():  # since this image was handed over
        raise pybreaker.CircuitBreakerError
      with self._breaker.calling():
        retrying = self._retrying.copy(stop=self._stop(seconds))
        answer = retrying(self._attempt, request, number, deadline, traffic)
    except _FailedError as error:
      fallback = error.fallback
    except pybreaker.CircuitBreakerError:
      fallback = Fallback.CIRCUIT_OPEN
    cloud_seconds = time.perf_counter() - encoded
    up, down = traffic.up, traffic.down
    return Reply(answer, fallback, up, down, traffic.attempts, encoded - begun, cloud_seconds)

  def _stop(self, seconds: float) -> Any:
    attempts = tenacity.stop_after_attempt(self._retry_policy.attempts)
    return attempts | tenacity.stop_before_delay(seconds)

  def _attempt(
    self, request: protocol.ModelInferRequest, number: int, deadline: float, traffic: _Traffic
  ) -> CloudAnswer:
    left = deadline - time.perf_counter()
    if left <= 0:
      raise _FailedError(Fallback.LATE)
    traffic.attempts += 1
    traffic.up += request.ByteSize()
    try:
      response = self._connection.infer(request, left)
    except grpc.RpcError as error:
      asked = [output.name for output in request.outputs]
      if error.code() is grpc.StatusCode.INVALID_ARGUMENT and LOGITS in asked:
        # A server that was away when it was checked may know no logits.
        self._expected = self._expected._replace(logits=False)
        del request.outputs[asked.index(LOGITS)]
        return self._attempt(request, number, deadline, traffic)
      raise _FailedError(_FALLBACKS.get(error.code(), Fallback.REFUSED)) from error
    except ValueError as error:  # the channel was closed, because the command ends
      raise _FailedError(Fallback.UNREACHABLE) from error
    traffic.down += response.ByteSize()
    try:
      return read_answer(response, number, self._expected.num_classes, self._expected.digest)
    except BadAnswerError as error:
      raise _FailedError(error.fallback) from error
