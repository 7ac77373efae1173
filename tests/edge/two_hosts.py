"""Two hosts on one machine: network namespaces joined by a cable, or by a slow link. Needs root.

The cable is the kernel's (veth). So is the link's rate (`tc`, tbf, on either end), but not every
kernel has netem for its delay: there the wire is a process between two TUN devices that hands on
each packet so much later, before any other process runs if this machine allows it.

Command of the wire: python -m tests.edge.two_hosts NAMESPACE NAMESPACE SECONDS
"""

import contextlib
import ctypes
import fcntl
import os
import select
import shutil
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent
DEVICE = "wire0"
EDGE, CLOUD = "10.77.0.1", "10.77.0.2"
_SET_INTERFACE, _TUN, _NO_INFO = 0x400454CA, 0x0001, 0x1000
_NEW_NETWORK = 0x40000000


class Link(NamedTuple):
  """Each way: 10^6 bit/s, and seconds from end to end."""

  mbps: float
  delay: float


class Hosts(NamedTuple):
  """edge, cloud: the namespaces' names; their addresses are `EDGE` and `CLOUD`."""

  edge: str
  cloud: str

  def command(self, host: str, *arguments: str) -> list[str]:
    """A command line that runs on a host."""
    return ["ip", "netns", "exec", host, *arguments]

  def sent_bytes(self, host: str) -> int:
    """That have left a host, whole IP packets."""
    path = f"/sys/class/net/{DEVICE}/statistics/tx_bytes"
    return int(_run("ip", "netns", "exec", host, "cat", path))


def unavailable(link: Link | None = None) -> str | None:
  """Why this machine cannot have two hosts so joined; None if it can."""
  if os.geteuid() != 0:
    return "network namespaces need root"
  for tool in ("ip", "tc") if link else ("ip",):
    if shutil.which(tool) is None:
      return f"{tool} (iproute2) is not installed"
  try:
    with two_hosts(link):
      return None
  except (OSError, subprocess.CalledProcessError) as error:
    return f"network namespaces are not allowed here: {getattr(error, 'stderr', None) or error}"


@contextlib.contextmanager
def two_hosts(link: Link | None = None) -> Iterator[Hosts]:
  """Joined by a link, or by a cable that neither limits nor delays."""
  hosts = Hosts(f"edge-{os.getpid()}", f"cloud-{os.getpid()}")
  with contextlib.ExitStack() as stack:
    for host in hosts:
      _run("ip", "netns", "add", host)
      stack.callback(_run, "ip", "netns", "del", host)
      _run("ip", "-n", host, "link", "set", "lo", "up")
    if link is None:
      ends = [(DEVICE, "netns", host) for host in hosts]
      _run("ip", "link", "add", *ends[0], "type", "veth", "peer", "name", *ends[1])
    else:
      stack.enter_context(_wire_process(hosts, link.delay))
    for host, address in ((hosts.edge, EDGE), (hosts.cloud, CLOUD)):
      _run("ip", "-n", host, "address", "add", f"{address}/24", "dev", DEVICE)
      _run("ip", "-n", host, "link", "set", DEVICE, "up")
      if link is not None:
        # A burst of a few packets, as short as the kernel's clock allows at this rate.
        shape = ("tbf", "rate", f"{link.mbps}mbit", "burst", "6kb", "latency", "500ms")
        _run("ip", "netns", "exec", host, "tc", "qdisc", "add", "dev", DEVICE, "root", *shape)
    yield hosts


@contextlib.contextmanager
def _wire_process(hosts: Hosts, delay: float) -> Iterator[None]:
  wire = subprocess.Popen(
    [sys.executable, "-m", "tests.edge.two_hosts", *hosts, str(delay)],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  try:
    if wire.stdout.readline() != "ready\n":
      raise OSError(wire.stderr.read().strip().splitlines()[-1])
    yield
  finally:
    wire.terminate()
    wire.communicate()


def _run(*arguments: str) -> str:
  return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout


def _open_tun(namespace: str) -> int:
  """A TUN device in a namespace, which this thread enters; a read or write is one packet."""
  library = ctypes.CDLL(None, use_errno=True)
  with open(f"/var/run/netns/{namespace}", "rb") as file:
    if library.setns(file.fileno(), _NEW_NETWORK):
      raise OSError(ctypes.get_errno(), "setns")
  device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
  fcntl.ioctl(device, _SET_INTERFACE, struct.pack("16sH", DEVICE.encode(), _TUN | _NO_INFO))
  return device


def _wire(first: str, second: str, delay: float) -> None:
  with contextlib.suppress(OSError):  # else it is late when others want the processor
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
  ends = [_open_tun(first), _open_tun(second)]
  under_way: deque[tuple[float, int, bytes]] = deque()  # due, to which end, packet
  print("ready", flush=True)
  while True:
    now = time.monotonic()
    wait = max(under_way[0][0] - now, 0) if under_way else None
    readable, _, _ = select.select(ends, [], [], wait)
    for end in readable:
      with contextlib.suppress(BlockingIOError):
        while packet := os.read(end, 65536):
          other = ends[1] if end == ends[0] else ends[0]
          under_way.append((time.monotonic() + delay, other, packet))
    while under_way and under_way[0][0] <= time.monotonic():
      _, end, packet = under_way.popleft()
      with contextlib.suppress(OSError):  # a host that is not up yet
        os.write(end, packet)


if __name__ == "__main__":
  _wire(sys.argv[1], sys.argv[2], float(sys.argv[3]))
