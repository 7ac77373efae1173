"""Connections that ask nothing, and more of them than there may be open files."""

import contextlib
import socket
import subprocess
import sys

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.servers import READY, cloud_server_process


def test_the_limit_of_open_files_is_raised():
  script = """
import resource
from meanet_jax.cloud.descriptors import raise_file_limit
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
raise_file_limit()
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
"""
  subprocess.run([sys.executable, "-c", script], check=True)


def test_a_second_without_files_is_one_line():
  script = """
import asyncio, os, resource
from meanet_jax import log
from meanet_jax.cloud.descriptors import report_exhaustion

async def main():
  reporting = asyncio.create_task(report_exhaustion(0.001))
  await asyncio.sleep(0.1)
  print("enough", flush=True)
  resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
  held = []
  try:
    while True:
      held.append(os.open(os.devnull, os.O_RDONLY))
  except OSError:
    pass
  await asyncio.sleep(1)
  assert not reporting.done()

log.to_console()
asyncio.run(main())
"""
  ended = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
  assert ended.stdout.splitlines() == [
    "enough",
    "cloud tier: new connections wait: Too many open files; accepted: 64 open files",
  ]


@pytest.mark.full
def test_the_server_survives_more_connections_than_open_files(finished_run):
  few = ("sh", "-c", 'ulimit -n 128 && exec "$@"', "sh")
  with cloud_server_process(finished_run.path, prefix=few) as server:
    with contextlib.ExitStack() as stack:
      for _ in range(400):
        stack.enter_context(socket.create_connection(("127.0.0.1", server.grpc_port), timeout=60))
      channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}"))
      # It hangs up on those that ask nothing, and takes the one that waits behind them.
      check = health_pb2_grpc.HealthStub(channel).Check
      answer = check(health_pb2.HealthCheckRequest(), timeout=60, wait_for_ready=True)
      assert answer.status == health_pb2.HealthCheckResponse.SERVING
    start = next(i for i, line in enumerate(server.output) if READY.search(line))
    lines = server.output[start + 1 :]
    assert lines
    assert {line.strip() for line in lines} == {
      "cloud tier: new connections wait: Too many open files; accepted: 128 open files"
    }
    assert len(lines) < 10
