"""A gRPC server that answers every request at once with 100 of its bytes: what gRPC alone costs.

It is started by `python -m benchmarks.cloud_load`, which ends it too.
"""

import asyncio

import grpc
import grpc.aio


class _Echo(grpc.GenericRpcHandler):
  """One handler, without a message's types, for every method."""

  def __init__(self):
    self._handler = grpc.unary_unary_rpc_method_handler(self._answer)

  def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
    """See `grpc.GenericRpcHandler`."""
    del handler_call_details
    return self._handler

  async def _answer(self, message: bytes, context: grpc.aio.ServicerContext) -> bytes:
    del context
    return message[:100]


async def serve() -> None:
  """Answers until the process ends; prints its address first."""
  server = grpc.aio.server()
  server.add_generic_rpc_handlers((_Echo(),))
  port = server.add_insecure_port("127.0.0.1:0")
  await server.start()
  print(f"ready: 127.0.0.1:{port}", flush=True)
  await server.wait_for_termination()


if __name__ == "__main__":
  asyncio.run(serve())
