"""Who may ask, and how much: the same rules in front of REST and gRPC."""

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
import grpc.aio

from meanet_jax.serving.metrics import Metrics

# What an orchestrator asks; it tells nothing.
_OPEN_PATHS = ("/", "/v2/health/live", "/v2/health/ready")
_OPEN_METHODS = ("ServerLive", "ServerReady")
# KServe would load and unload models for whoever asks; on REST those paths are not let in either.
_CLOSED_METHODS = ("RepositoryModelLoad", "RepositoryModelUnload")
_OTHER_PATHS = ("/metrics", "/v2", "/v2/models")

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


class Guard:
  """ASGI middleware: paths, token, and the length of a body, before anything reads it."""

  def __init__(self, app: Any, token: Token, max_bytes: int, timeout: float, metrics: Metrics):
    """Passes what it accepts on.

    Args:
      app: the ASGI application behind it.
      token: asked for everywhere but at liveness and readiness.
      max_bytes: of a body.
      timeout: seconds in which a body must have arrived.
      metrics: told of refusals.
    """
    self._app, self._token, self._metrics = app, token, metrics
    self._max_bytes, self._timeout = max_bytes, timeout

  async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
    """See the ASGI specification."""
    if scope["type"] == "lifespan":
      return await self._app(scope, receive, send)
    if scope["type"] != "http":
      return await send({"type": "websocket.close"})
    path, headers = scope["path"], dict(scope["headers"])
    is_model = path.startswith("/v2/models/") and "/versions/" not in path
    if not is_model and path not in _OPEN_PATHS + _OTHER_PATHS:
      return await self._refuse(
        send, 404, "path", f"no path {path[:100]}; accepted: /v2/models/..."
      )
    if path not in _OPEN_PATHS and not self._token.admits(headers.get(b"authorization")):
      return await self._refuse(send, 401, "token", "the bearer token is missing or wrong")
    try:
      async with asyncio.timeout(self._timeout):
        body = await self._read(receive)
    except TimeoutError:
      return await self._refuse(send, 408, "slow", f"no whole body within {self._timeout:g} s")
    if body is None:
      return await self._refuse(
        send, 413, "large", f"the request is too large; accepted: {self._max_bytes} bytes"
      )
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Mapping[str, Any]:
      return pending.pop() if pending else await receive()

    return await self._app(scope, replay, send)

  async def _read(self, receive: _Receive) -> bytes | None:
    """The whole body; None for one that is too long.

    Of that some more is read and forgotten: a client that still sends would not see the answer.
    """
    parts, length, more = [], 0, True
    while more and length <= 4 * self._max_bytes:
      message = await receive()
      part = message.get("body", b"")
      length += len(part)
      if length <= self._max_bytes:
        parts.append(part)
      else:
        parts.clear()
      more = message.get("more_body", False)
    return b"".join(parts) if length <= self._max_bytes else None

  async def _refuse(self, send: _Send, status: int, reason: str, error: str) -> None:
    self._metrics.refused.labels(reason).inc()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    if status == 401:
      headers.append((b"www-authenticate", b"Bearer"))
    body = json.dumps({"error": error}).encode()
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class AccessInterceptor(grpc.aio.ServerInterceptor):
  """The same for gRPC, whose own option limits the length of a message."""

  def __init__(self, token: Token, metrics: Metrics):
    self._token, self._metrics = token, metrics

  async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
    """See `grpc.aio.ServerInterceptor`."""
    method = handler_call_details.method.rpartition("/")[2]
    if method in _CLOSED_METHODS:
      return self._refuse("path", grpc.StatusCode.UNIMPLEMENTED, "models are not loaded by request")
    given = dict(handler_call_details.invocation_metadata or ()).get("authorization")
    if method not in _OPEN_METHODS and not self._token.admits(given):
      return self._refuse(
        "token", grpc.StatusCode.UNAUTHENTICATED, "the bearer token is missing or wrong"
      )
    return await continuation(handler_call_details)

  def _refuse(self, reason: str, code: grpc.StatusCode, error: str) -> grpc.RpcMethodHandler:
    self._metrics.refused.labels(reason).inc()

    async def abort(_: Any, context: grpc.aio.ServicerContext) -> None:
      await context.abort(code, error)

    return grpc.unary_unary_rpc_method_handler(abort)
