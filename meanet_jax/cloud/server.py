"""REST and gRPC from KServe's parts, on one address, with an orderly end.

KServe's `ModelServer` puts the same parts together, but listens on every interface, without TLS on
gRPC, takes no interceptor, and unloads the model before the requests that it accepted are answered.
"""

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable, Iterator

import grpc
import grpc.aio
import uvicorn
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from kserve import ModelRepository
from kserve.constants.constants import FASTAPI_APP_IMPORT_STRING
from kserve.errors import InvalidInput, ModelNotFound, ServerNotReady
from kserve.model_server import app
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import (
  add_GRPCInferenceServiceServicer_to_server,
)
from kserve.protocol.grpc.servicer import InferenceServicer
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from kserve.protocol.rest.server import RESTServer
from starlette.exceptions import HTTPException

from meanet_jax.cloud.access import Guard, Token
from meanet_jax.cloud.batching import Batcher
from meanet_jax.cloud.connections import Connection, exhaustion_handler
from meanet_jax.cloud.endpoint import CloudDataPlane, CloudEndpoint
from meanet_jax.cloud.interceptor import Interceptor
from meanet_jax.cloud.limits import Limits, Room
from meanet_jax.cloud.listen import Address, Tls
from meanet_jax.cloud.metrics import Metrics
from meanet_jax.errors import UserError
from meanet_jax.log import logger
from meanet_jax.stopping import heeded

# A client that has nothing to ask for so long may connect anew.
_IDLE_MILLISECONDS = 300_000
_CLIENTS_MISTAKES = ("Invalid HTTP request received.", "Unsupported upgrade request.")


class _RestServer(uvicorn.Server):
  """Leaves the signals to `serve`, which has gRPC to end as well."""

  @contextlib.contextmanager
  def capture_signals(self) -> Iterator[None]:
    """Does nothing."""
    yield


async def serve(
  endpoint: CloudEndpoint,
  batcher: Batcher,
  address: Address,
  token: Token,
  tls: Tls | None,
  limits: Limits,
  metrics: Metrics,
) -> None:
  """Serves until a signal; then refuses what is new and finishes what was accepted.

  Args:
    endpoint, batcher: the model.
    address: where to listen.
    token, tls, limits: who may ask, how, and how much.
    metrics: told of refusals.

  Raises:
    UserError: a port was taken while the model compiled.
  """
  stop = asyncio.Event()
  for number in heeded():
    asyncio.get_running_loop().add_signal_handler(number, stop.set)
  asyncio.get_running_loop().set_exception_handler(exhaustion_handler())
  repository = ModelRepository()
  repository.update(endpoint)
  parts = CloudDataPlane(repository), ModelRepositoryExtension(repository)
  held = Room(max(limits.held_bytes, limits.max_bytes))
  rpc = _grpc_server(*parts, Interceptor(token, held, metrics), limits)
  grpc_port = address.bind_grpc(rpc, tls)
  guard = functools.partial(Guard, token=token, limits=limits, held=held, metrics=metrics)
  web = _rest_server(*parts, address.http_port, guard, tls, limits, metrics)

  worker = asyncio.create_task(batcher.work())
  await rpc.start()
  serving = asyncio.create_task(web.serve(sockets=[address.http_socket]))
  while not web.started:
    await asyncio.sleep(0.01)
    if serving.done():
      await _refuse_start(serving, address)
  scheme = "https" if tls else "http"
  logger.info(
    f"cloud tier ready: {scheme}://{address.shown}:{address.http_port} and "
    f"{'grpcs' if tls else 'grpc'}://{address.shown}:{grpc_port}"
  )
  await asyncio.wait([serving, asyncio.create_task(stop.wait())], return_when="FIRST_COMPLETED")
  logger.info("cloud tier stops: answers what it has accepted")
  web.should_exit = True
  await asyncio.gather(serving, rpc.stop(limits.grace))
  worker.cancel()
  logger.info("cloud tier stopped")


def _grpc_server(
  data_plane: DataPlane,
  extension: ModelRepositoryExtension,
  interceptor: Interceptor,
  limits: Limits,
) -> grpc.aio.Server:
  """KServe's servicer behind our interceptor; without a port yet."""
  server = grpc.aio.server(
    interceptors=(interceptor,),
    maximum_concurrent_rpcs=limits.max_queue,
    options=[
      ("grpc.max_receive_message_length", limits.max_bytes),
      ("grpc.so_reuseport", 0),  # else a second server takes the same port without a word
      ("grpc.compression_enabled_algorithms_bitset", 1),  # none: a small message stays small
      ("grpc.server_handshake_timeout_ms", int(limits.head_seconds * 1e3)),
      ("grpc.max_connection_idle_ms", _IDLE_MILLISECONDS),
    ],
  )
  add_GRPCInferenceServiceServicer_to_server(InferenceServicer(data_plane, extension), server)
  return server


def _rest_server(
  data_plane: DataPlane,
  extension: ModelRepositoryExtension,
  port: int,
  guard: Callable[..., Guard],
  tls: Tls | None,
  limits: Limits,
  metrics: Metrics,
) -> _RestServer:
  """KServe's application behind our guard; serves on whatever socket it is given."""
  rest = RESTServer(
    FASTAPI_APP_IMPORT_STRING,
    data_plane,
    extension,
    port,
    grace_period=int(limits.grace),
    ssl_certfile=tls and str(tls.certificate),
    ssl_keyfile=tls and str(tls.key),
  )
  app.add_middleware(guard)
  app.add_exception_handler(RequestValidationError, _answer_invalid)
  app.add_exception_handler(HTTPException, _answer_http_error)
  rest.config.http = functools.partial(
    Connection, head_seconds=limits.head_seconds, metrics=metrics
  )
  rest.create_application()
  return _RestServer(rest.config)


async def _refuse_start(serving: "asyncio.Task[None]", address: Address) -> None:
  try:
    await serving
  except OSError as error:  # two may bind a port; the first to listen has it
    raise UserError(
      f"--http_port {address.http_port} of {address.host} is in use: {error.strerror}; "
      "accepted: a free port, or 0 for any"
    ) from error


async def _answer_invalid(_: Request, error: Exception) -> JSONResponse:
  assert isinstance(error, RequestValidationError)
  first = error.errors()[0]
  where = ".".join(str(part) for part in first["loc"])
  return JSONResponse({"error": f"{where}: {first['msg']}"}, 400)


async def _answer_http_error(_: Request, error: Exception) -> JSONResponse:
  assert isinstance(error, HTTPException)
  return JSONResponse({"error": str(error.detail)}, error.status_code)


class ClientErrorFilter(logging.Filter):
  """Keeps what KServe and uvicorn log, and a client did, out of the log: it is counted."""

  def filter(self, record: logging.LogRecord) -> bool:
    """Whether to log it."""
    error = record.exc_info[1] if record.exc_info else None
    is_clients = isinstance(error, InvalidInput | ModelNotFound | ServerNotReady)
    return not is_clients and record.msg not in _CLIENTS_MISTAKES
