"""Who may call, decided from a call's headers, before its message is read."""

import hmac

import grpc
import grpc.aio

from meanet_jax.cloud.metrics import Metrics

# What an orchestrator asks; the answers say nothing about the model.
_OPEN = frozenset(
  (
    "/inference.GRPCInferenceService/ServerLive",
    "/inference.GRPCInferenceService/ServerReady",
    "/grpc.health.v1.Health/Check",
  )
)


class Token:
  """A bearer token; without one everybody may call."""

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


class Guard(grpc.GenericRpcHandler):
  """Handles every call without the token, which must not reach the handlers after this one."""

  def __init__(self, token: Token, metrics: Metrics):
    self._token, self._metrics = token, metrics
    self._refusal = grpc.unary_unary_rpc_method_handler(self._refuse)

  def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
    """See `grpc.GenericRpcHandler`; None leaves the call to the next handler."""
    details = handler_call_details
    if details.method in _OPEN:
      return None
    given = dict(details.invocation_metadata or ()).get("authorization")
    return None if self._token.admits(given) else self._refusal

  async def _refuse(self, _: bytes, context: grpc.aio.ServicerContext) -> None:
    self._metrics.refused.labels("token").inc()
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, "the bearer token is missing or wrong")
