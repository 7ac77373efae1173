"""Who may ask over gRPC, and what is answered to everything that is wrong."""

import logging
from typing import Any

import grpc
import grpc.aio
from kserve.errors import InvalidInput, ModelNotFound, ModelNotReady, ServerNotReady

from meanet_jax.cloud.access import Token
from meanet_jax.cloud.endpoint import BusyError
from meanet_jax.cloud.limits import Room
from meanet_jax.cloud.metrics import Metrics

# What an orchestrator asks; it tells nothing.
_OPEN_METHODS = ("ServerLive", "ServerReady")
# KServe would load and unload models for whoever asks; on REST those paths are not let in either.
_CLOSED_METHODS = ("RepositoryModelLoad", "RepositoryModelUnload")
_REASONS = {
  grpc.StatusCode.INVALID_ARGUMENT: "invalid",
  grpc.StatusCode.UNAUTHENTICATED: "token",
  grpc.StatusCode.NOT_FOUND: "path",
  grpc.StatusCode.UNIMPLEMENTED: "path",
  grpc.StatusCode.RESOURCE_EXHAUSTED: "busy",
}


class _RefusalError(Exception):
  def __init__(self, code: grpc.StatusCode, error: str):
    super().__init__(error)
    self.code = code


class Interceptor(grpc.aio.ServerInterceptor):
  """In place of KServe's, which logs every client's mistake and calls a full queue unavailable.

  gRPC's own options limit the length of a message and the number of them.
  """

  def __init__(self, token: Token, held: Room, metrics: Metrics):
    """Lets in what has the token.

    Args:
      token: asked for everywhere but at liveness and readiness.
      held: bytes of the messages of all requests, once they have arrived.
      metrics: told of refusals.
    """
    self._token, self._held, self._metrics = token, held, metrics

  async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
    """See `grpc.aio.ServerInterceptor`."""
    refusal = self._admit(handler_call_details)
    if refusal is not None:  # before the message is read

      async def refuse(_: bytes, context: grpc.aio.ServicerContext) -> None:
        await self._abort(context, refusal)

      return grpc.unary_unary_rpc_method_handler(refuse)
    handler = await continuation(handler_call_details)
    if handler is None:
      return None

    async def answer(message: bytes, context: grpc.aio.ServicerContext) -> Any:
      if not self._held.take(len(message)):
        error = f"messages of {self._held.most} bytes are under way; accepted: {self._held.most}"
        await self._abort(context, _RefusalError(grpc.StatusCode.RESOURCE_EXHAUSTED, error))
      try:
        return await handler.unary_unary(_parse(handler.request_deserializer, message), context)
      except Exception as error:
        if isinstance(error, grpc.aio.AbortError):
          raise
        await self._abort(context, _refusal_of(error, handler_call_details.method))
      finally:
        self._held.give(len(message))

    return grpc.unary_unary_rpc_method_handler(
      answer, response_serializer=handler.response_serializer
    )

  def _admit(self, details: Any) -> _RefusalError | None:
    method = details.method.rpartition("/")[2]
    if method in _CLOSED_METHODS:
      error = f"{method} is not offered; accepted: requests to the model"
      return _RefusalError(grpc.StatusCode.UNIMPLEMENTED, error)
    given = dict(details.invocation_metadata or ()).get("authorization")
    if method not in _OPEN_METHODS and not self._token.admits(given):
      return _RefusalError(grpc.StatusCode.UNAUTHENTICATED, "the bearer token is missing or wrong")
    return None

  async def _abort(self, context: grpc.aio.ServicerContext, refusal: _RefusalError) -> None:
    if reason := _REASONS.get(refusal.code):
      self._metrics.refused.labels(reason).inc()
    await context.abort(refusal.code, str(refusal))


def _parse(deserialize: Any, message: bytes) -> Any:
  """The request of a message. gRPC itself would log a traceback of one that is none."""
  try:
    request = deserialize(message)
  except Exception as error:
    raise _RefusalError(
      grpc.StatusCode.INVALID_ARGUMENT,
      f"a message of {len(message)} bytes cannot be decoded; accepted: the protocol's",
    ) from error
  version = getattr(request, "model_version", "") or getattr(request, "version", "")
  if version:
    error = f"no version {version[:100]!r} of a model; accepted: none"
    raise _RefusalError(grpc.StatusCode.NOT_FOUND, error)
  return request


def _refusal_of(error: Exception, method: str) -> _RefusalError:
  if isinstance(error, _RefusalError):
    return error
  for kind, code in (
    (InvalidInput, grpc.StatusCode.INVALID_ARGUMENT),
    (ModelNotFound, grpc.StatusCode.NOT_FOUND),
    (BusyError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    ((ModelNotReady, ServerNotReady), grpc.StatusCode.UNAVAILABLE),
  ):
    if isinstance(error, kind):
      return _RefusalError(code, str(error))
  logging.getLogger(__name__).error("%s failed", method, exc_info=error)
  return _RefusalError(grpc.StatusCode.INTERNAL, "internal server error")
