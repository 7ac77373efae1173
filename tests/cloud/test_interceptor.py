"""The interceptor before methods that a test makes up."""

# In a process of its own: KServe's messages cannot be loaded beside tritonclient's.
from tests.forked_commands import run_command

SCRIPT = """
import asyncio
import grpc
import grpc.aio
import prometheus_client
from kserve.errors import InvalidInput, ModelNotFound
from meanet_jax.cloud.access import Token
from meanet_jax.cloud.endpoint import BusyError
from meanet_jax.cloud.interceptor import Interceptor
from meanet_jax.cloud.limits import Room
from meanet_jax.cloud.metrics import Metrics

CODE = grpc.StatusCode
ERRORS = {
  b"invalid": (InvalidInput("no"), CODE.INVALID_ARGUMENT),
  b"busy": (BusyError("3 images wait"), CODE.RESOURCE_EXHAUSTED),
  b"other": (ModelNotFound("other"), CODE.NOT_FOUND),
  b"defect": (RuntimeError("a secret path"), CODE.INTERNAL),
}
registry = prometheus_client.CollectorRegistry()
held = Room(10)
started, may_end = asyncio.Event(), asyncio.Event()

async def method(request, context):
  if request == b"waits":
    started.set()
    await may_end.wait()
  if request in ERRORS:
    raise ERRORS[request][0]
  return b"answer"

async def main():
  interceptor = Interceptor(Token("s3cret"), held, Metrics([1], registry))
  server = grpc.aio.server(interceptors=(interceptor,))
  handler = grpc.unary_unary_rpc_method_handler(method, bytes, None)
  server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("s", {"Infer": handler}),))
  port = server.add_insecure_port("127.0.0.1:0")
  await server.start()
  async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
    call = channel.unary_unary("/s/Infer")
    right = (("authorization", "bearer s3cret"),)

    async def ask(message, metadata=right):
      try:
        return await call(message, metadata=metadata, timeout=60), None
      except grpc.aio.AioRpcError as error:
        return error.code(), error.details()

    assert await ask(b"hello") == (b"answer", None)
    assert (await ask(b"hello", None))[0] is CODE.UNAUTHENTICATED
    for message, (_, code) in ERRORS.items():
      assert (await ask(message))[0] is code, message
    assert (await ask(b"busy"))[1] == "3 images wait"
    assert (await ask(b"defect"))[1] == "internal server error"
    pending = asyncio.ensure_future(call(b"waits", metadata=right, timeout=60))
    await started.wait()
    code, details = await ask(b"sixsix")
    assert code is CODE.RESOURCE_EXHAUSTED
    assert details == "messages of 10 bytes are under way; accepted: 10"
    may_end.set()
    assert await pending == b"answer"
    assert held.take(10)
  await server.stop(None)
  for reason, count in (("token", 1), ("invalid", 1), ("path", 1), ("busy", 3)):
    found = registry.get_sample_value("cloud_refused_total", {"reason": reason})
    assert found == count, (reason, found)

asyncio.run(main())
"""


def test_codes_bytes_under_way_and_the_log():
  ended = run_command("-c", SCRIPT)
  assert ended.returncode == 0, ended.stderr
  # Our own defects alone are logged: one that was asked for twice.
  assert ended.stderr.count("/s/Infer failed") == 2
  assert ended.stderr.count("Traceback") == 2
