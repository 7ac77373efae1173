"""The gRPC server from its start to an orderly end."""

import asyncio

import grpc
import grpc.aio

from meanet_jax.cloud.access import Guard
from meanet_jax.cloud.descriptors import report_exhaustion
from meanet_jax.cloud.limits import Limits
from meanet_jax.cloud.listen import Address, Tls
from meanet_jax.cloud.service import CloudService
from meanet_jax.log import logger
from meanet_jax.stopping import heeded

_SECONDS_AFTER_ANSWERS = 1.0


async def serve(
  service: CloudService, guard: Guard, address: Address, tls: Tls | None, limits: Limits
) -> None:
  """Serves until a signal; then refuses what is new and finishes what was accepted.

  Args:
    service: the model, which is compiled.
    guard: who may call it.
    address, tls: where.
    limits: how much at once, and how long after the signal.

  Raises:
    UserError: a port was taken while the model compiled.
  """
  stop = asyncio.Event()
  for number in heeded():
    asyncio.get_running_loop().add_signal_handler(number, stop.set)
  server = make_server(limits)
  # In this order: what the guard handles does not reach the others.
  server.add_generic_rpc_handlers((guard, service.handler(), service.health_handler()))
  servers, url = [server], address.bind(server, tls)
  if address.health_port is not None:
    servers.append(make_server(limits))
    servers[1].add_generic_rpc_handlers((service.health_handler(),))
    url += f"; health at {address.bind_health(servers[1])}"
  for one in servers:
    await one.start()
  reporting = asyncio.create_task(report_exhaustion())
  logger.info(f"cloud tier ready: {url}")
  await stop.wait()
  logger.info("cloud tier stops: answers what it has accepted")
  service.serving = False
  for one in servers:
    await one.stop(limits.grace)
  reporting.cancel()
  await _end_tasks()
  logger.info("cloud tier stopped")


async def _end_tasks() -> None:
  """Ends every other task: calls that the grace was too short for, and what gRPC left behind.

  After an answer gRPC's task of a call has a little left to do, and logs a traceback if it is
  cancelled then; a moment is enough for it. What lasts longer is cancelled here, and not with
  tracebacks as the loop closes.
  """
  left = asyncio.all_tasks() - {asyncio.current_task()}
  if left:
    _, left = await asyncio.wait(left, timeout=_SECONDS_AFTER_ANSWERS)
  for task in left:
    task.cancel()
  await asyncio.gather(*left, return_exceptions=True)


def make_server(limits: Limits) -> grpc.aio.Server:
  """Without methods and ports yet."""
  return grpc.aio.server(
    maximum_concurrent_rpcs=limits.max_queue,
    options=[
      ("grpc.max_receive_message_length", limits.max_bytes),
      ("grpc.so_reuseport", 0),  # else a second server takes the same port without a word
      ("grpc.compression_enabled_algorithms_bitset", 1),  # none: a small message stays small
      ("grpc.server_handshake_timeout_ms", int(limits.handshake_seconds * 1e3)),
      ("grpc.max_connection_idle_ms", int(limits.idle_seconds * 1e3)),
    ],
  )
