"""Where the processes of a run meet before JAX connects them.

jaxlib aborts a process with a C++ stack trace, and names nobody, where another is late, has the
same number or counts them otherwise. So process 0 first listens on the coordinator's port; each
other one says there which it is, as a line of JSON, and is answered with one once all are there.
"""

import contextlib
import errno
import json
import os
import selectors
import socket
import time
from collections.abc import Collection
from typing import Any, NamedTuple

from meanet_jax.errors import MeetingError

MOST = 2**14  # bytes of a line
TOLD_SECONDS = 30.0  # for which processes that come later are told of what is wrong
LATE_SECONDS = 5.0  # by which a process 0 that is there may be late to say what it knows
RETRY_SECONDS = 0.2


class Meeting(NamedTuple):
  """address: HOST:PORT of process 0. processes: how many. number: this one's, from 0."""

  address: str
  processes: int
  number: int
  seconds: float

  @property
  def place(self) -> tuple[str, int]:
    """Host and port as sockets take them."""
    host, _, port = self.address.rpartition(":")
    return host.strip("[]"), int(port)


class Hello(NamedTuple):
  """What a process says first: which it is, of how many, and why it cannot go on."""

  process: int
  of: int
  wrong: str | None


def meet(meeting: Meeting, wrong: str | None = None) -> None:
  """Returns once every process has called it.

  Args:
    wrong: why this one cannot go on, for the others to raise; it does not wait for them for long.

  Raises:
    MeetingError: somebody did not come or something is wrong; in all that have reached process 0.
  """
  if wrong is not None:
    wrong = wrong[:1000]  # as much as a line can hold, however it is escaped
    meeting = meeting._replace(seconds=min(meeting.seconds, TOLD_SECONDS))
  if meeting.number:
    _join(meeting, wrong)
    return
  _, port = meeting.place
  dual = socket.has_dualstack_ipv6()
  family = socket.AF_INET6 if dual else socket.AF_INET
  try:
    server = socket.create_server(("", port), family=family, backlog=1024, dualstack_ipv6=dual)
  except OSError as error:
    if error.errno == errno.EADDRINUSE:
      _refuse_second(meeting, wrong)
    raise MeetingError(
      f"flag --coordinator is {meeting.address}: process 0 cannot listen on port {port} "
      f"({os.strerror(error.errno or 0)}); accepted: a port that is free on its host"
    ) from error
  with server:
    _receive(server, meeting, wrong)


def _join(meeting: Meeting, wrong: str | None) -> None:
  deadline = time.monotonic() + meeting.seconds
  found = ""
  while (left := deadline - time.monotonic()) > 0:
    try:
      line = _ask(meeting, wrong, left, meeting.seconds + LATE_SECONDS)
    except (OSError, UnicodeError) as error:  # the latter where a host's name cannot be one
      found = getattr(error, "strerror", None) or str(error)
    else:
      if line:
        _check_answer(line, meeting)
        return
      found = "it closed the connection"  # as what forwards a port does before process 0 listens
    time.sleep(min(RETRY_SECONDS, left))
  raise MeetingError(
    f"flag --coordinator is {meeting.address}: no answer within {meeting.seconds:g} s ({found}); "
    "accepted: HOST:PORT of process 0, started within --start_seconds of this one"
  )


def _refuse_second(meeting: Meeting, wrong: str | None) -> None:
  """Raises MeetingError, in both, if what has the port is a process 0 that waits for others."""
  with contextlib.suppress(OSError, UnicodeError):
    line = _ask(meeting, wrong, LATE_SECONDS, LATE_SECONDS)
    if _fields(line):
      _check_answer(line, meeting)


def _ask(meeting: Meeting, wrong: str | None, connect: float, answer: float) -> bytes:
  with socket.create_connection(meeting.place, timeout=connect) as connection:
    connection.settimeout(answer)
    connection.sendall(_line(Hello(meeting.number, meeting.processes, wrong)._asdict()))
    with connection.makefile("rb") as lines:
      return lines.readline(MOST)


def _check_answer(line: bytes, meeting: Meeting) -> None:
  match _fields(line):
    case {"wrong": None}:
      return
    case {"wrong": str(wrong)}:
      raise MeetingError(wrong)
  raise MeetingError(
    f"flag --coordinator is {meeting.address}: what answers there is no process 0 that waits for "
    "others; accepted: HOST:PORT of process 0"
  )


def _receive(server: socket.socket, meeting: Meeting, wrong: str | None) -> None:
  """Process 0's side. Once something is wrong, it stays for a while to tell the others."""
  deadline = time.monotonic() + meeting.seconds
  failure = None if wrong is None else f"process 0 ended: {wrong}"
  members: dict[socket.socket, int] = {}
  with selectors.DefaultSelector() as selector, contextlib.ExitStack() as accepted:
    server.setblocking(False)
    selector.register(server, selectors.EVENT_READ)
    while len(members) < meeting.processes - 1 and (left := deadline - time.monotonic()) > 0:
      for key, _ in selector.select(left):
        if key.fileobj is server:
          with contextlib.suppress(OSError):  # it may have gone again
            connection = accepted.enter_context(server.accept()[0])
            connection.setblocking(False)
            selector.register(connection, selectors.EVENT_READ, bytearray())
          continue
        connection: Any = key.fileobj
        if not _has_ended(connection, key.data):
          continue
        hello = _hello(key.data)
        if connection in members or hello is None:  # members speak once, so it has left
          selector.unregister(connection)
          connection.close()
          if failure is None:
            members.pop(connection, None)
          continue
        found = _found_wrong(hello, meeting, members.values())
        members[connection] = hello.process
        if failure is not None:
          _answer([connection], failure)
        elif found is not None:
          failure = found
          deadline = min(deadline, time.monotonic() + TOLD_SECONDS)
          _answer(members, failure)
    if failure is None:
      failure = _missing(meeting, members.values())
      _answer(members, failure)
  if failure is not None:
    raise MeetingError(failure)


def _has_ended(connection: socket.socket, said: bytearray) -> bool:
  """Reads on; whether the line, or what can be one, or the connection has ended."""
  try:
    part = connection.recv(MOST)
  except BlockingIOError:
    return False
  except OSError:
    part = b""
  said += part
  return not part or b"\n" in said or len(said) >= MOST


def _found_wrong(hello: Hello, meeting: Meeting, here: Collection[int]) -> str | None:
  number, count, wrong = hello
  if count != meeting.processes:
    return (
      f"flag --num_processes is {meeting.processes} in process 0 and {count} in process {number}; "
      "accepted: the same in all"
    )
  if number == 0 or number in here:
    return (
      f"flag --process_id is {number} in two processes; accepted: 0 to {count - 1}, each of them "
      "once"
    )
  return None if wrong is None else f"process {number} ended: {wrong}"


def _missing(meeting: Meeting, here: Collection[int]) -> str | None:
  missing = sorted(set(range(1, meeting.processes)) - set(here))
  if not missing:
    return None
  names = ", ".join(map(str, missing[:10])) + (", ..." if len(missing) > 10 else "")
  return (
    f"{len(missing)} of {meeting.processes} processes did not come to {meeting.address} within "
    f"{meeting.seconds:g} s: --process_id {names}; accepted: all, started within --start_seconds"
  )


def _answer(connections: Collection[socket.socket], wrong: str | None) -> None:
  for connection in connections:
    with contextlib.suppress(OSError):  # who has left needs none
      connection.sendall(_line({"wrong": wrong}))


def _line(fields: dict[str, Any]) -> bytes:
  return json.dumps({"meanet_jax": 1} | fields).encode() + b"\n"


def _hello(line: bytes | bytearray) -> Hello | None:
  match _fields(line):
    case {"process": int(process), "of": int(count), "wrong": wrong}:
      return Hello(process, count, wrong)
  return None


def _fields(line: bytes | bytearray) -> dict[str, Any]:
  """What `_line` wrote; nothing where it did not."""
  try:
    fields = json.loads(line)
  except (ValueError, RecursionError):
    return {}
  match fields:
    case {"meanet_jax": 1, "wrong": None | str()}:
      return fields
    case _:
      return {}
