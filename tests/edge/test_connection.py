"""Calls that end well without a message, as damage under way can make them. A real server."""

from collections.abc import Iterator
from concurrent import futures

import grpc
import pytest

from meanet_jax.edge.link.connection import Address, Connection, Expected, check
from meanet_jax.edge.link.encoding import Encoding
from meanet_jax.edge.link.messages import make_request
from meanet_jax.edge.link.replies import Fallback
from meanet_jax.errors import UserError
from tests.edge.links import offloader_to, sending, stream


@pytest.fixture
def silent() -> Iterator[int]:
  """The port of a server whose every call has the status OK and no message."""
  nothing = grpc.stream_stream_rpc_method_handler(lambda *_: iter(()))
  handlers = dict.fromkeys(("ModelInfer", "ModelMetadata"), nothing)
  server = grpc.server(futures.ThreadPoolExecutor(2))
  server.add_generic_rpc_handlers(
    (grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers),)
  )
  port = server.add_insecure_port("127.0.0.1:0")
  server.start()
  yield port
  server.stop(None).wait()


def test_the_response_is_an_empty_one(silent):
  connection = Connection(Address(f"127.0.0.1:{silent}"))
  request = make_request(0, b"\0" * 64, (8, 8, 1), Encoding())
  assert connection.infer(request, 5.0).ByteSize() == 0
  assert connection.metadata(5.0).ByteSize() == 0
  connection.close()


def test_a_server_that_says_nothing_at_the_start_is_another(silent):
  with pytest.raises(UserError, match="model cloud"):
    check(Address(f"127.0.0.1:{silent}"), Expected((8, 8, 1), 10, "", Encoding()), 5.0)


def test_images_have_the_edges_own_answer(silent, exported, source):
  images = source.dataset.test.images[:40]
  found = stream(sending(exported, 0.5, images), images, offloader_to(silent, exported))
  reasons = {result.fallback for result in found.by_number()}
  assert Fallback.WRONG_SHAPE in reasons
  assert reasons <= {None, Fallback.WRONG_SHAPE, Fallback.CIRCUIT_OPEN}
