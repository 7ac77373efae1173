"""Ways to the cloud tier that serves the tests' run."""

import grpc
import pytest

from tests.servers import CloudServer


@pytest.fixture
def channel(cloud_server: CloudServer):
  with grpc.insecure_channel(f"127.0.0.1:{cloud_server.grpc_port}") as channel:
    yield channel
