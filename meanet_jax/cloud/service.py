"""The Open Inference Protocol's methods, of the one model `cloud`."""

import asyncio
import functools
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health_pb2
from tritonclient.grpc import service_pb2 as protocol

import meanet_jax
from meanet_jax.cloud.batching import Batcher, OverloadedError
from meanet_jax.cloud.images import OUTPUTS, TYPES, RequestError, read_images, requested_outputs
from meanet_jax.cloud.limits import Limits
from meanet_jax.cloud.metrics import Metrics
from meanet_jax.cloud.model import CloudRun
from meanet_jax.log import logger
from meanet_jax.protocol import (
  CLASS,
  CLASSES_PARAMETER,
  DATASET_PARAMETER,
  ENCODED,
  IMAGE,
  LOGITS,
  MODEL,
  PROBABILITY,
  classes_digest,
)

_OUTPUT_TYPES = {CLASS: "INT32", PROBABILITY: "FP32", LOGITS: "FP32"}


class _NotFoundError(Exception):
  """Another model than `cloud`, a version of it, or another service."""


_REFUSALS = {
  RequestError: (grpc.StatusCode.INVALID_ARGUMENT, "invalid"),
  _NotFoundError: (grpc.StatusCode.NOT_FOUND, "path"),
  OverloadedError: (grpc.StatusCode.RESOURCE_EXHAUSTED, "busy"),
}
_Answer = Callable[[Any], Awaitable[bytes]]


class CloudService:
  """From requests to answers, by way of the batcher.

  Messages are parsed here and not by gRPC, which would log a traceback of each that is none.
  """

  def __init__(self, run: CloudRun, batcher: Batcher, limits: Limits, metrics: Metrics):
    """Answers with the batcher's model, which has been compiled.

    Args:
      run: whose cloud the batcher runs.
      batcher: of the event loop that calls this.
      limits: `max_images` and `held_bytes` of it.
      metrics: counts what is refused.
    """
    self._run, self._batcher, self._limits, self._metrics = run, batcher, limits, metrics
    self._shape = run.config.dataset.image_shape
    self._digest = classes_digest(run.class_names)
    self.held_bytes = 0  # of the messages of calls under way
    self.serving = True  # what readiness and health say
    self._head = functools.lru_cache(1024)(self._make_head)

  def handler(self) -> grpc.GenericRpcHandler:
    """For a server of `grpc.aio`."""
    methods = {
      "ServerLive": (protocol.ServerLiveRequest, _constant(protocol.ServerLiveResponse(live=True))),
      "ServerReady": (protocol.ServerReadyRequest, self._ready),
      "ServerMetadata": (
        protocol.ServerMetadataRequest,
        _constant(
          protocol.ServerMetadataResponse(name="meanet_jax", version=meanet_jax.__version__)
        ),
      ),
      "ModelReady": (
        protocol.ModelReadyRequest,
        _of_model(protocol.ModelReadyResponse(ready=True)),
      ),
      "ModelMetadata": (protocol.ModelMetadataRequest, _of_model(self._metadata())),
      "ModelInfer": (protocol.ModelInferRequest, self._infer),
    }
    return grpc.method_handlers_generic_handler(
      "inference.GRPCInferenceService",
      {name: self._method(name, *parts) for name, parts in methods.items()},
    )

  def health_handler(self) -> grpc.GenericRpcHandler:
    """gRPC's health service without `Watch`, which would hold calls open beyond the end."""
    check = self._method("Check", health_pb2.HealthCheckRequest, self._check)
    return grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": check})

  def _method(
    self, name: str, request_type: type[Message], answer: _Answer
  ) -> grpc.RpcMethodHandler:
    """From a message's bytes to those of the answer, or to gRPC's status for what is wrong."""
    most = self._limits.held_bytes

    async def call(message: bytes, context: grpc.aio.ServicerContext) -> bytes | None:
      self.held_bytes += len(message)
      try:
        if self.held_bytes > most:
          raise OverloadedError(f"messages of {most} bytes are under way; accepted: {most}")
        return await answer(_parse(request_type, message))
      except (RequestError, _NotFoundError, OverloadedError) as error:
        code, reason = _REFUSALS[type(error)]
        self._metrics.refused.labels(reason).inc()
        await context.abort(code, str(error))
      except Exception:
        logger.error(f"{name} failed: {traceback.format_exc()}")
        await context.abort(grpc.StatusCode.INTERNAL, "internal server error")
      finally:
        self.held_bytes -= len(message)

    return grpc.unary_unary_rpc_method_handler(call)

  async def _ready(self, _: protocol.ServerReadyRequest) -> bytes:
    return protocol.ServerReadyResponse(ready=self.serving).SerializeToString()

  async def _check(self, request: health_pb2.HealthCheckRequest) -> bytes:
    if request.service:
      raise _NotFoundError(f"no service {request.service[:100]!r}; accepted: none, for the server")
    states = health_pb2.HealthCheckResponse
    status = states.SERVING if self.serving else states.NOT_SERVING
    return states(status=status).SerializeToString()

  async def _infer(self, request: protocol.ModelInferRequest) -> bytes:
    _check_model(request.model_name, request.model_version)
    names = requested_outputs([output.name for output in request.outputs])
    read = functools.partial(read_images, request, self._shape, self._limits.max_images)
    if request.inputs and request.inputs[0].name == ENCODED:
      # Decoding takes long enough to keep other requests waiting.
      images = await asyncio.to_thread(read)
    else:
      images = read()
    outputs = await self._batcher.submit(images)
    rest = protocol.ModelInferResponse(
      id=request.id, raw_output_contents=[outputs[name].tobytes() for name in names]
    )
    # Serialised messages, one after the other, are the message of all their fields.
    return self._head(names, len(images)) + rest.SerializeToString()

  def _make_head(self, names: tuple[str, ...], count: int) -> bytes:
    """What all answers of these outputs for so many images have in common, serialised."""
    response = protocol.ModelInferResponse(model_name=MODEL)
    response.parameters[DATASET_PARAMETER].string_param = self._run.config.dataset.name
    response.parameters[CLASSES_PARAMETER].string_param = self._digest
    for name in names:
      response.outputs.add(
        name=name, datatype=_OUTPUT_TYPES[name], shape=self._output_shape(name, count)
      )
    return response.SerializeToString()

  def _metadata(self) -> protocol.ModelMetadataResponse:
    response = protocol.ModelMetadataResponse(name=MODEL, platform="jax")
    response.inputs.add(name=IMAGE, datatype=TYPES[IMAGE], shape=[-1, *self._shape])
    response.inputs.add(name=ENCODED, datatype=TYPES[ENCODED], shape=[-1])
    for name in OUTPUTS:
      response.outputs.add(
        name=name, datatype=_OUTPUT_TYPES[name], shape=self._output_shape(name, -1)
      )
    return response

  def _output_shape(self, name: str, count: int) -> list[int]:
    return [count, len(self._run.class_names)] if name == LOGITS else [count]


def _constant(response: Message) -> _Answer:
  message = response.SerializeToString()

  async def answer(_: Message) -> bytes:
    return message

  return answer


def _of_model(response: Message) -> _Answer:
  """The same for requests that name a model."""
  message = response.SerializeToString()

  async def answer(request: Any) -> bytes:
    _check_model(request.name, request.version)
    return message

  return answer


def _parse(request_type: type[Message], message: bytes) -> Any:
  try:
    return request_type.FromString(message)
  except DecodeError as error:
    raise RequestError(
      f"a message of {len(message)} bytes cannot be decoded; accepted: the protocol's"
    ) from error


def _check_model(name: str, version: str) -> None:
  if name != MODEL:
    raise _NotFoundError(f"no model {name[:100]!r}; accepted: {MODEL}")
  if version:
    raise _NotFoundError(f"no version {version[:100]!r} of a model; accepted: none")
