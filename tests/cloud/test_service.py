"""The service before a model that a test releases: codes, limits, clients that leave."""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import numpy as np
import prometheus_client
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import service_pb2 as protocol
from tritonclient.grpc import service_pb2_grpc

from meanet_jax.cloud.access import Guard, Token
from meanet_jax.cloud.batching import Batcher
from meanet_jax.cloud.limits import Limits
from meanet_jax.cloud.metrics import Metrics
from meanet_jax.cloud.model import CloudRun
from meanet_jax.cloud.server import make_server
from meanet_jax.cloud.service import CloudService
from meanet_jax.protocol import CLASS, LOGITS, PROBABILITY
from tests.cloud.asking import image_request, output

CODE = grpc.StatusCode
RIGHT = (("authorization", "bearer s3cret"),)
OK = image_request(np.zeros((1, 8, 8, 1), np.uint8))
DEFECT = image_request(np.full((1, 8, 8, 1), 255, np.uint8))


class Held:
  """A model that answers the class of an image's first pixel once it is released."""

  def __init__(self):
    self.released, self.batches = threading.Event(), []

  def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
    self.batches.append(len(images))
    assert self.released.wait(60)
    if images.max() == 255:
      raise RuntimeError("a secret path")
    classes = images[:, 0, 0, 0].astype(np.int32)
    probability = np.full(len(images), 0.5, np.float32)
    return {CLASS: classes, PROBABILITY: probability, LOGITS: np.zeros((len(images), 10))}


class Served:
  """A server in this process, its model, and a client."""

  def __init__(self, service: CloudService, model: Held, registry: Any, port: int, channel: Any):
    self.service, self.model, self.registry, self.port = service, model, registry, port
    self.channel = channel
    self.stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)

  def ask(self, request: Any = OK, timeout: float = 60, metadata: Any = RIGHT) -> Any:
    return self.stub.ModelInfer(request, timeout=timeout, metadata=metadata)

  async def refused(self, call: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
      await call
    return caught.value.code(), caught.value.details() or ""

  def count(self, name: str, **labels: str) -> float | None:
    return self.registry.get_sample_value(name, labels)

  async def waiting(self, images: int) -> None:
    while self.count("cloud_waiting_images") != images:
      await asyncio.sleep(0.001)

  async def begun(self) -> "asyncio.Future":
    """A request that the model is busy with."""
    call = asyncio.ensure_future(self.ask())
    while not self.model.batches:
      await asyncio.sleep(0.001)
    return call


@pytest.fixture
def serve(tiny):
  def run(test: Callable[[Served], Awaitable[None]], **limits: Any) -> None:
    async def main() -> None:
      registry, model = prometheus_client.CollectorRegistry(), Held()
      default = {"max_queue": 100, "max_images": 8, "max_bytes": 10_000, "grace": 0.0}
      made = Limits(**{"max_batch": 4, "max_wait": 0.0} | default | limits)
      metrics = Metrics([1, 2, 4], registry)
      cloud = CloudRun(tiny, tuple("0123456789"), {})
      service = CloudService(
        cloud, Batcher(model, {1: 1.0, 2: 1.0, 4: 1.0}, made, metrics), made, metrics
      )
      server = make_server(made)
      guard = Guard(Token("s3cret"), metrics)
      server.add_generic_rpc_handlers((guard, service.handler(), service.health_handler()))
      port = server.add_insecure_port("127.0.0.1:0")
      await server.start()
      try:
        async with (
          asyncio.timeout(60),
          grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
          await test(Served(service, model, registry, port, channel))
      finally:
        model.released.set()
        await server.stop(None)

    asyncio.run(main())

  return run


def test_codes_counts_and_the_log(serve, printed):
  async def test(served: Served) -> None:
    served.model.released.set()
    answer = await served.ask(image_request(np.full((2, 8, 8, 1), 7, np.uint8)))
    assert output(answer, CLASS).tolist() == [7, 7]
    wrong = protocol.ModelInferRequest(model_name="cloud")
    for metadata in (None, (("authorization", "Bearer other"),), (("authorization", "s3cret"),)):
      assert (await served.refused(served.ask(metadata=metadata)))[0] is CODE.UNAUTHENTICATED
    for request, code in (
      (wrong, CODE.INVALID_ARGUMENT),
      (protocol.ModelInferRequest(model_name="other"), CODE.NOT_FOUND),
      (DEFECT, CODE.INTERNAL),
    ):
      assert (await served.refused(served.ask(request)))[0] is code
    assert (await served.refused(served.ask(DEFECT)))[1] == "internal server error"
    for reason, count in (("token", 3), ("invalid", 1), ("path", 1)):
      assert served.count("cloud_refused_total", reason=reason) == count

  serve(test)
  # Our own defects alone are logged: one that was asked for twice.
  assert printed().count("ModelInfer failed: Traceback") == 2
  assert printed().count("RuntimeError: a secret path") == 2
  assert printed().count("Traceback") == 2


def test_bytes_under_way_are_bounded_and_free_again_afterwards(serve):
  size = OK.ByteSize()

  async def test(served: Served) -> None:
    first = await served.begun()
    second = asyncio.ensure_future(served.ask())
    await served.waiting(1)
    code, details = await served.refused(served.ask())
    assert code is CODE.RESOURCE_EXHAUSTED
    assert details == f"messages of {2 * size} bytes are under way; accepted: {2 * size}"
    assert served.count("cloud_refused_total", reason="busy") == 1
    served.model.released.set()
    await first
    await second
    await served.ask()

  serve(test, held_bytes=2 * size)


def test_calls_under_way_are_bounded(serve):
  async def test(served: Served) -> None:
    under_way = [await served.begun(), asyncio.ensure_future(served.ask())]
    await served.waiting(1)
    assert (await served.refused(served.ask()))[0] is CODE.RESOURCE_EXHAUSTED
    served.model.released.set()
    await asyncio.gather(*under_way)
    await served.ask()

  serve(test, max_queue=2)


def test_a_full_queue_refuses_and_goes_on(serve):
  async def test(served: Served) -> None:
    first = await served.begun()
    three = image_request(np.zeros((3, 8, 8, 1), np.uint8))
    waiting = asyncio.ensure_future(served.ask(three))
    await served.waiting(3)
    code, details = await served.refused(served.ask(three))
    assert (code, details) == (CODE.RESOURCE_EXHAUSTED, "3 images wait; accepted: 4")
    served.model.released.set()
    await first
    assert output(await waiting, CLASS).shape == (3,)

  serve(test, max_queue=4)


def test_a_client_that_leaves_or_whose_deadline_passes_costs_the_model_nothing(serve):
  async def test(served: Served) -> None:
    first = await served.begun()
    late = served.ask(image_request(np.zeros((2, 8, 8, 1), np.uint8)), timeout=0.1)
    left = served.ask()
    leaving = asyncio.ensure_future(left)
    await served.waiting(3)
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
      await leaving
    assert (await served.refused(late))[0] is CODE.DEADLINE_EXCEEDED
    while served.service.held_bytes > OK.ByteSize():  # until the server knows
      await asyncio.sleep(0.001)
    served.model.released.set()
    await first
    await served.ask()
    assert served.model.batches == [1, 1]

  serve(test)


def test_health_and_readiness_follow_the_server_and_need_no_token(serve):
  async def test(served: Served) -> None:
    check = health_pb2_grpc.HealthStub(served.channel).Check
    states = health_pb2.HealthCheckResponse
    for serving, status in ((True, states.SERVING), (False, states.NOT_SERVING)):
      served.service.serving = serving
      assert (await check(health_pb2.HealthCheckRequest())).status == status
      ready = await served.stub.ServerReady(protocol.ServerReadyRequest())
      assert ready.ready is serving
    assert (await served.stub.ServerLive(protocol.ServerLiveRequest())).live
    other = health_pb2.HealthCheckRequest(service="x")
    assert (await served.refused(check(other)))[0] is CODE.NOT_FOUND
    closed = served.stub.ModelMetadata(protocol.ModelMetadataRequest(name="cloud"))
    assert (await served.refused(closed))[0] is CODE.UNAUTHENTICATED

  serve(test)


@pytest.mark.parametrize("sent", [b"", b"PRI * HTTP/2.0\r\n", b"\x16\x03\x01"])
def test_a_connection_that_asks_nothing_is_closed(serve, sent):
  async def test(served: Served) -> None:
    served.model.released.set()
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(sent)
    with contextlib.suppress(ConnectionError):
      while await reader.read(1000):  # HTTP/2's settings, and then its end
        pass
    writer.close()
    await served.ask()

  serve(test, handshake_seconds=0.1)
