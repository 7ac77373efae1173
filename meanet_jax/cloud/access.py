"""Who may ask over REST, and how much, before KServe or FastAPI reads anything."""

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from meanet_jax.cloud.limits import Limits, Room
from meanet_jax.cloud.metrics import Metrics

# What an orchestrator asks; it tells nothing.
_OPEN_PATHS = ("/", "/v2/health/live", "/v2/health/ready")
_OTHER_PATHS = ("/metrics", "/v2", "/v2/models")
_JSON_LENGTH = b"inference-header-content-length"
_QUICK_JSON = 50_000  # bytes
_REASONS = {
  400: "invalid",
  401: "token",
  404: "path",
  405: "path",
  408: "slow",
  413: "large",
  503: "busy",
}

_Scope = Mapping[str, Any]
_Receive = Callable[[], Awaitable[Mapping[str, Any]]]
_Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class Token:
  """A bearer token; without one everybody is let in."""

  def __init__(self, secret: str | None):
    self._secret = None if secret is None else secret.encode()

  def admits(self, authorization: str | bytes | None) -> bool:
    """Whether the value of `authorization` is right; takes as long for a wrong one."""
    if self._secret is None:
      return True
    given = authorization or b""
    if isinstance(given, str):
      given = given.encode()
    scheme, _, secret = given.partition(b" ")
    # The case of a scheme does not count (RFC 9110).
    return hmac.compare_digest(secret.lstrip(b" "), self._secret) and scheme.lower() == b"bearer"


class _RefusalError(Exception):
  """An answer of the guard's own."""

  def __init__(self, status: int, error: str):
    super().__init__(error)
    self.status = status


class Guard:
  """ASGI middleware: paths, token, and how much of everything. Counts what is refused behind it."""

  def __init__(self, app: Any, token: Token, limits: Limits, held: Room, metrics: Metrics):
    """Passes what it accepts on.

    Args:
      app: the ASGI application behind it.
      token: asked for everywhere but at liveness and readiness.
      limits: of a body, of its time, and of requests under way, liveness and readiness excepted.
      held: bytes of the bodies of all requests.
      metrics: told of refusals.
    """
    self._app, self._token, self._limits, self._metrics = app, token, limits, metrics
    self._requests, self._held, self._turn = Room(limits.max_queue), held, asyncio.Lock()

  async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
    """See the ASGI specification."""
    if scope["type"] == "lifespan":
      return await self._app(scope, receive, send)
    if scope["type"] != "http":
      return await send({"type": "websocket.close"})

    async def counting(message: Mapping[str, Any]) -> None:
      if reason := _REASONS.get(message.get("status", 200)):
        self._metrics.refused.labels(reason).inc()
      await send(message)

    # A body that comes without a token is not read.
    if scope["path"] in _OPEN_PATHS:
      return await self._app(scope, receive, counting)
    if not self._requests.take(1):
      error = f"{self._requests.most} requests are under way; accepted: {self._requests.most}"
      return await _refuse(counting, _RefusalError(503, error))
    try:
      await self._pass(scope, receive, counting)
    except _RefusalError as refusal:
      await _refuse(counting, refusal)
    finally:
      self._requests.give(1)

  async def _pass(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
    headers = dict(scope["headers"])
    self._admit(scope["path"], headers)
    is_json = _is_json(headers)
    try:
      async with asyncio.timeout(self._limits.body_seconds):
        body = await self._read(receive, is_json)
    except TimeoutError:
      seconds = self._limits.body_seconds
      raise _RefusalError(408, f"no whole body within {seconds:g} s") from None
    if body is None:
      return  # nobody is there to be told
    try:
      if is_json:
        headers[_JSON_LENGTH] = str(len(body)).encode()
      if self._json_length(headers.get(_JSON_LENGTH, b"")) > _QUICK_JSON:
        async with self._turn:  # probes and others come between two that take long to read
          await asyncio.sleep(0)
      # FastAPI would parse JSON by itself, within the event loop and by rules of its own.
      headers[b"content-type"] = b"application/octet-stream"
      pending = [{"type": "http.request", "body": body, "more_body": False}]

      async def replay() -> Mapping[str, Any]:
        return pending.pop() if pending else await receive()

      await self._app({**scope, "headers": list(headers.items())}, replay, send)
    finally:
      self._held.give(len(body))

  def _admit(self, path: str, headers: Mapping[bytes, bytes]) -> None:
    is_model = path.startswith("/v2/models/") and "/versions/" not in path
    if not is_model and path not in _OTHER_PATHS:
      raise _RefusalError(404, f"no path {path[:100]}; accepted: /v2/models/...")
    if not self._token.admits(headers.get(b"authorization")):
      raise _RefusalError(401, "the bearer token is missing or wrong")
    events = [name.decode("latin-1") for name in headers if name.startswith(b"ce-")]
    if events:  # an event's answer would be one of KServe's, without this model's parameters
      raise _RefusalError(
        400, f"header {events[0][:100]} is a CloudEvent's; accepted: plain requests"
      )

  def _json_length(self, given: bytes) -> int:
    # Whatever else it may be is for the reader of the body.
    length = int(given) if given.isdigit() and len(given) < 20 else 0
    if length > self._limits.max_json:
      raise _too_large(self._limits.max_json, is_json=True)
    return length

  async def _read(self, receive: _Receive, is_json: bool) -> bytes | None:
    """The whole body, which is held then; None if the client went away.

    Of one that is refused some more is read and forgotten: a client that still sends would not see
    the answer.

    Raises:
      _RefusalError: it is too long, or too much is held.
    """
    limits = self._limits
    most = min(limits.max_json, limits.max_bytes) if is_json else limits.max_bytes
    held, length, more, refusal = bytearray(), 0, True, None
    try:
      while more and length <= 4 * limits.max_bytes:
        message = await receive()
        if message["type"] == "http.disconnect":
          return None
        part = message.get("body", b"")
        more = message.get("more_body", False)
        length += len(part)
        if length > most:
          refusal = _too_large(most, is_json)
        elif refusal is None and not self._held.take(len(part)):
          error = f"bodies of {self._held.most} bytes are under way; accepted: {self._held.most}"
          refusal = _RefusalError(503, error)
        elif refusal is None:
          held += part
        if refusal is not None:
          self._held.give(len(held))
          held.clear()
      if refusal is not None:
        raise refusal
      body = bytes(held)
      held.clear()
      return body
    finally:
      self._held.give(len(held))


def _too_large(most: int, is_json: bool) -> _RefusalError:
  what = f"{most} bytes of JSON, and tensors as bytes after it" if is_json else f"{most} bytes"
  return _RefusalError(413, f"the request is too large; accepted: {what}")


async def _refuse(send: _Send, refusal: _RefusalError) -> None:
  body = json.dumps({"error": str(refusal)}).encode()
  headers = [
    (b"content-type", b"application/json"),
    (b"content-length", str(len(body)).encode()),
    (b"connection", b"close"),
  ]
  if refusal.status == 401:
    headers.append((b"www-authenticate", b"Bearer"))
  await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
  await send({"type": "http.response.body", "body": body})


def _is_json(headers: Mapping[bytes, bytes]) -> bool:
  """Whether the whole body is to be JSON."""
  kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
  return kind == b"application/json" and _JSON_LENGTH not in headers
