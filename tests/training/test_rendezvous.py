"""Processes that meet, or do not, as threads. Real ones: test_processes.py."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from meanet_jax.errors import MeetingError
from meanet_jax.training.rendezvous import MOST, Meeting, meet
from tests.ports import free_address, free_port

LONG = 60.0  # s, of which no test takes more than moments
SHORT = 0.5


@pytest.fixture
def address() -> str:
  return free_address()


def said(*calls: Callable[[], None]) -> list[str | None]:
  """What each of the calls, made at once, raised."""

  def one(call: Callable[[], None]) -> str | None:
    try:
      call()
    except MeetingError as error:
      return str(error)
    return None

  with ThreadPoolExecutor(len(calls)) as pool:
    return list(pool.map(one, calls))


def at(address: str, number: int, of: int = 2, seconds: float = LONG, wrong: str | None = None):
  return lambda: meet(Meeting(address, of, number, seconds), wrong)


@contextlib.contextmanager
def listening(answer: bytes | None) -> Iterator[str]:
  """The address of somebody else: one who answers so and hangs up, or who says nothing."""
  with socket.create_server(("", 0)) as server, contextlib.ExitStack() as kept:

    def serve() -> None:
      with contextlib.suppress(OSError):
        while True:
          connection = kept.enter_context(server.accept()[0])
          if answer is not None:
            connection.recv(MOST)
            connection.sendall(answer)
            connection.shutdown(socket.SHUT_RDWR)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
      yield f"127.0.0.1:{server.getsockname()[1]}"
    finally:
      server.shutdown(socket.SHUT_RDWR)
      thread.join()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_they_meet_and_the_port_is_free_again(host):
  if host == "[::1]" and not socket.has_dualstack_ipv6():
    pytest.skip("no IPv6 on this host")
  address = f"{host}:{free_port()}"
  for _ in range(2):
    assert said(*(at(address, number, 4) for number in (3, 1, 0, 2))) == [None] * 4
  assert said(at(address, 0, 1)) == [None]


def test_whoever_else_knocks_is_ignored(address):
  host, _, port = address.partition(":")

  def knock() -> None:
    strangers = [
      b"GET / HTTP/1.1\r\n\r\n",
      b"\x16\x03\x01" * MOST,
      b'{"meanet_jax": 1, "wrong": null}\n',
      b'{"meanet_jax": 1, "wrong": null, "process": "1", "of": 2}\n',
      b"[" * (MOST // 2) + b"\n",
      b"",
    ]
    with contextlib.ExitStack() as kept:
      connections = []
      while len(connections) < 2 * len(strangers):
        with contextlib.suppress(ConnectionRefusedError):
          connections.append(kept.enter_context(socket.create_connection((host, int(port)))))
      for connection, line in zip(connections, strangers):  # the others stay and say nothing
        with contextlib.suppress(OSError):  # it has hung up before the end
          connection.sendall(line)
          connection.shutdown(socket.SHUT_WR)
          connection.recv(1)
      meet(Meeting(address, 2, 1, LONG))

  assert said(at(address, 0), knock) == [None, None]


def test_who_did_not_come_is_named_to_all_others(address):
  lines = said(at(address, 0, 14, 3.0), at(address, 2, 14))
  assert lines[0] == lines[1]
  assert lines[0] == (
    f"12 of 14 processes did not come to {address} within 3 s: --process_id 1, 3, 4, 5, 6, 7, 8, "
    "9, 10, 11, ...; accepted: all, started within --start_seconds"
  )
  (line,) = said(at(address, 0, 2, SHORT))
  assert line is not None
  assert line.startswith(
    f"1 of 2 processes did not come to {address} within 0.5 s: --process_id 1;"
  )


def test_a_number_that_is_taken(address):
  lines = said(at(address, 0, 3), at(address, 1, 3), at(address, 1, 3))
  assert set(lines) == {
    "flag --process_id is 1 in two processes; accepted: 0 to 2, each of them once"
  }
  lines = said(at(address, 0), at(address, 0))
  assert set(lines) == {
    "flag --process_id is 0 in two processes; accepted: 0 to 1, each of them once"
  }


def test_who_left_may_come_again(address):
  host, _, port = address.partition(":")

  def twice() -> None:
    while True:
      with contextlib.suppress(ConnectionRefusedError):
        with socket.create_connection((host, int(port))) as first:
          first.sendall(b'{"meanet_jax": 1, "wrong": null, "process": 1, "of": 3}\n')
        break
    assert said(at(address, 1, 3), at(address, 2, 3)) == [None, None]

  assert said(at(address, 0, 3), twice) == [None, None]


def test_another_number_of_processes(address):
  lines = said(at(address, 0, 2), at(address, 2, 3))
  assert set(lines) == {
    "flag --num_processes is 2 in process 0 and 3 in process 2; accepted: the same in all"
  }


@pytest.mark.parametrize("number", [0, 1])
def test_what_is_wrong_in_one_is_told_to_all(address, number):
  wrong = {number: "field 'séed' is -1; accepted: 0 to inf"}
  lines = said(*(at(address, each, 3, wrong=wrong.get(each)) for each in range(3)))
  assert set(lines) == {f"process {number} ended: {wrong[number]}"}
  (line, other) = said(at(address, 0), at(address, 1, wrong="\0" * MOST))
  assert line == other == "process 1 ended: " + "\0" * 1000


@pytest.mark.parametrize("host", ["127.0.0.1", "nosuch.invalid", "a..b"])
def test_nobody_at_the_address(host):
  address = f"{host}:{free_port()}"
  (line,) = said(at(address, 1, seconds=SHORT))
  assert line is not None
  assert line.startswith(f"flag --coordinator is {address}: no answer within 0.5 s (")
  assert line.endswith("started within --start_seconds of this one")


def test_somebody_else_at_the_address(monkeypatch):
  monkeypatch.setattr("meanet_jax.training.rendezvous.LATE_SECONDS", 0.0)
  for answer in (b"HTTP/1.1 400\r\n\r\n", b"\0\0\x12\4\xff", b'{"meanet_jax": 1, "wrong": 1}\n'):
    with listening(answer) as address:
      (line,) = said(at(address, 1))
      assert line == (
        f"flag --coordinator is {address}: what answers there is no process 0 that waits for "
        "others; accepted: HOST:PORT of process 0"
      )
  for answer, found in ((b"", "it closed the connection"), (None, "timed out")):
    with listening(answer) as address:
      (line,) = said(at(address, 1, seconds=SHORT))
      assert line is not None
      assert line.startswith(f"flag --coordinator is {address}: no answer within 0.5 s ({found});")


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400\r\n\r\n", b"", None])
def test_a_port_that_is_in_use_is_named(answer, monkeypatch):
  if answer is None:
    monkeypatch.setattr("meanet_jax.training.rendezvous.LATE_SECONDS", 0.1)
  with listening(answer) as address:
    (line,) = said(at(address, 0))
  assert line == (
    f"flag --coordinator is {address}: process 0 cannot listen on port {address.split(':')[1]} "
    "(Address already in use); accepted: a port that is free on its host"
  )
