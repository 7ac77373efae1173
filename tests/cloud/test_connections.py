"""Connections that ask nothing, and more of them than there may be open files."""

import asyncio
import contextlib
import errno
import functools
import http.client
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import prometheus_client
import pytest
import requests
import uvicorn

from meanet_jax.cloud.connections import Connection, exhaustion_handler
from meanet_jax.cloud.metrics import Metrics
from tests.servers import READY, cloud_server_process

HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def answer(scope: Any, receive: Any, send: Any) -> None:
  """After ten times as long as a head may take."""
  await asyncio.sleep(0.5)
  await send({"type": "http.response.start", "status": 204, "headers": []})
  await send({"type": "http.response.body"})


def run(
  test: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> prometheus_client.CollectorRegistry:
  """Runs `test` over a connection to a server that waits 0.05 s for a head."""
  registry = prometheus_client.CollectorRegistry()
  kind = functools.partial(Connection, head_seconds=0.05, metrics=Metrics([1], registry))
  config = uvicorn.Config(answer, http=kind, lifespan="off", log_config=None)

  async def main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
      server = uvicorn.Server(config)
      serving = asyncio.create_task(server.serve(sockets=[listening]))
      async with asyncio.timeout(60):
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        await test(reader, writer)
        writer.close()
        server.should_exit = True
        await serving

  asyncio.run(main())
  return registry


@pytest.mark.parametrize("sent", [b"", b"GET / HTT", HEAD[:-2]])
def test_a_connection_without_a_whole_head_is_closed(sent):
  async def test(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(sent)
    assert await reader.read() == b""

  run(test)


def test_one_that_goes_on_dripping_is_closed_as_well():
  async def test(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    closed = asyncio.create_task(reader.read())
    writer.write(b"GET / HTTP/1.1\r\nX: ")
    while not closed.done():
      with contextlib.suppress(ConnectionError):
        writer.write(b"a")
        await writer.drain()
      await asyncio.sleep(0.01)
    with contextlib.suppress(ConnectionError):
      assert await closed == b""

  run(test)


def test_a_request_may_take_longer_and_the_next_one_has_a_clock_again():
  async def test(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for _ in range(2):
      writer.write(HEAD[:5])
      await writer.drain()
      writer.write(HEAD[5:])
      assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
    writer.write(HEAD[:5])
    assert await reader.read() == b""

  run(test)


def test_what_is_no_http_is_counted():
  async def test(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(bytes(100))
    assert (await reader.read()).startswith(b"HTTP/1.1 400")

  registry = run(test)
  assert registry.get_sample_value("cloud_refused_total", {"reason": "invalid"}) == 1


def test_a_thousand_failures_to_accept_are_one_line(said):
  others: list[Any] = []

  async def main() -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(exhaustion_handler())
    loop.default_exception_handler = others.append
    for _ in range(1000):
      loop.call_exception_handler({"exception": OSError(errno.EMFILE, "Too many open files")})
    loop.call_exception_handler({"exception": OSError(errno.EPIPE, "Broken pipe")})
    loop.call_exception_handler({"message": "no exception"})

  asyncio.run(main())
  assert len(said) == 1
  assert "new connections wait: Too many open files; accepted: " in said[0]
  assert len(others) == 2


def test_the_limit_of_open_files_is_raised():
  script = """
import resource
from meanet_jax.cloud.connections import raise_file_limit
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
raise_file_limit()
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
"""
  subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.full
def test_the_server_survives_more_connections_than_open_files(finished_run):
  few = ("sh", "-c", 'ulimit -n 128 && exec "$@"', "sh")
  with cloud_server_process(finished_run.path, prefix=few) as server:
    url = f"http://127.0.0.1:{server.http_port}/v2/health/live"
    with contextlib.ExitStack() as stack:
      for port in (server.http_port, server.grpc_port):
        for _ in range(200):
          stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
      # It hangs up on those that ask nothing, and takes the one that waits behind them.
      assert requests.get(url, timeout=60).status_code == http.client.OK
    start = next(i for i, line in enumerate(server.output) if READY.search(line))
    lines = server.output[start + 1 :]
    assert lines
    assert {line.strip() for line in lines} == {
      "cloud tier: new connections wait: Too many open files; accepted: 128 open files"
    }
    assert len(lines) < 10
