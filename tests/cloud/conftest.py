"""Ways to the cloud tier that serves the tests' run."""

import grpc
import pytest

from tests.servers import CloudServer


@pytest.fixture(scope="module")
def url(cloud_server: CloudServer) -> str:
  return f"http://127.0.0.1:{cloud_server.http_port}"


@pytest.fixture
def channel(cloud_server: CloudServer):
  with grpc.insecure_channel(f"127.0.0.1:{cloud_server.grpc_port}") as channel:
    yield channel
