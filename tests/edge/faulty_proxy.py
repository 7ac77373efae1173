"""A TCP proxy in front of a server that does what networks do, changed while it runs."""

import asyncio
import contextlib
import dataclasses
import random
import socket
import struct
import threading
from collections.abc import Iterator

_CHUNK = 4096


@dataclasses.dataclass
class Faults:
  """What happens to bytes, in both directions unless told otherwise.

  drop: they vanish, the connection stays. delay: seconds that each chunk takes. rate: bytes per
  second; 0 is unlimited. corrupt: probability that one byte of a chunk is changed. truncate: bytes
  after which the server's side of a connection ends in the middle; 0 never. reset: every connection
  ends at once with RST, new ones too.
  """

  drop: bool = False
  delay: float = 0.0
  rate: float = 0.0
  corrupt: float = 0.0
  truncate: int = 0
  reset: bool = False


class FaultyProxy:
  """faults: in force from the next chunk on. port: that it listens on. seen: its connections."""

  def __init__(self, target_port: int):
    self.faults = Faults()
    self.port = 0
    self.seen = 0
    self._target = target_port
    self._writers: set[asyncio.StreamWriter] = set()
    self._random = random.Random(0)
    self._loop = asyncio.new_event_loop()
    self._ready = threading.Event()
    self._thread = threading.Thread(target=self._run, daemon=True)
    self._thread.start()
    assert self._ready.wait(10)

  def set(self, **faults: float) -> None:
    """These faults and no others, from now on; `reset` ends what is open."""
    self.faults = Faults(**faults)
    if self.faults.reset:
      self._loop.call_soon_threadsafe(self._reset_all)

  def close(self) -> None:
    """Ends everything."""
    self._loop.call_soon_threadsafe(self._stop.set)
    self._thread.join(10)

  def _run(self) -> None:
    asyncio.set_event_loop(self._loop)
    try:
      self._loop.run_until_complete(self._serve())
    finally:
      self._loop.close()

  async def _serve(self) -> None:
    self._stop = asyncio.Event()
    server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
    self.port = server.sockets[0].getsockname()[1]
    self._ready.set()
    await self._stop.wait()
    server.close()
    self._reset_all()
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
      task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

  async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    self.seen += 1
    self._writers.add(writer)
    if self.faults.reset:
      self._reset(writer)
      return
    try:
      to_server = await asyncio.open_connection("127.0.0.1", self._target)
    except OSError:
      self._reset(writer)
      return
    self._writers.add(to_server[1])
    await asyncio.gather(
      self._pump(reader, to_server[1], False), self._pump(to_server[0], writer, True)
    )

  async def _pump(
    self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, down: bool
  ) -> None:
    passed = 0
    try:
      while data := await reader.read(_CHUNK):
        faults = self.faults
        if faults.drop:
          continue
        if faults.delay:
          await asyncio.sleep(faults.delay)
        if faults.rate:
          await asyncio.sleep(len(data) / faults.rate)
        if faults.corrupt and self._random.random() < faults.corrupt:
          place = self._random.randrange(len(data))
          changed = data[place] ^ (1 << self._random.randrange(8))
          data = data[:place] + bytes([changed]) + data[place + 1 :]
        if down and faults.truncate and passed + len(data) > faults.truncate:
          writer.write(data[: max(faults.truncate - passed, 0)])
          await writer.drain()
          break
        passed += len(data)
        writer.write(data)
        await writer.drain()
    except (OSError, asyncio.CancelledError):
      pass
    finally:
      self._writers.discard(writer)
      with contextlib.suppress(OSError, RuntimeError):
        writer.close()

  def _reset_all(self) -> None:
    for writer in list(self._writers):
      self._reset(writer)

  def _reset(self, writer: asyncio.StreamWriter) -> None:
    self._writers.discard(writer)
    sock = writer.get_extra_info("socket")
    if sock is not None:
      with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextlib.contextmanager
def faulty_proxy(target_port: int) -> Iterator[FaultyProxy]:
  """In front of 127.0.0.1:target_port."""
  proxy = FaultyProxy(target_port)
  try:
    yield proxy
  finally:
    proxy.close()
