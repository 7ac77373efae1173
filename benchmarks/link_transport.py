"""The first table of benchmarks/link_shaped.py: images over the link alone, and where time goes."""

import contextlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from meanet_jax.config.schema import CostConfig
from meanet_jax.cost.energy import upload_ms
from meanet_jax.errors import UserError
from tests.edge.two_hosts import CLOUD, Hosts

ROOT = Path(__file__).parent.parent
PORT = 8081
SHAPES = {"digits": (8, 8, 1), "Fashion-MNIST": (28, 28, 1), "CIFAR": (32, 32, 3)}
SHAPES |= {"ImageNet": (224, 224, 3)}
WARM = 20  # images before those that count: the congestion window and the interpreter settle
IDLE = 5  # images that each follow a second of silence

# A server that answers at once: what remains is the link.
_SERVER = """
import sys
from tests.edge.oip_server import oip_server
with oip_server({port}, host={host!r}) as server:
  print("ready", flush=True)
  sys.stdin.read()
"""
_CLIENT = """
import json, sys, time
import numpy as np
from meanet_jax.edge.link.connection import Address, Expected
from meanet_jax.edge.link.encoding import Encoding
from meanet_jax.edge.link.offload import Offloader, RetryPolicy
from meanet_jax.protocol import classes_digest
names = tuple("0123456789")
expected = Expected({shape}, 10, classes_digest(names), Encoding())
offloader = Offloader(Address("{host}:{port}"), expected, 1, RetryPolicy(deadline=60.0))
image = np.random.default_rng(0).integers(256, size={shape}).astype(np.uint8)
def ask(number):
  offloader.submit(number, number, image)
  _, reply = offloader.finished(wait=True)
  assert reply.fallback is None, reply.fallback
  return [1e3 * reply.cloud_seconds, reply.bytes_up]
def said(word):
  print(word, flush=True)
  sys.stdin.readline()
for number in range({warm}):
  ask(number)
said("warm")
found = [ask(number) for number in range({count})]
said("counted")
for number in range({idle}):
  time.sleep(1)
  found.append(ask(number))
offloader.close()
print(json.dumps(found))
"""
# As many bytes, and one back, without gRPC.
_TCP_SERVER = """
import socket
listening = socket.create_server(({host!r}, {port}))
print("ready", flush=True)
connection, _ = listening.accept()
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
while connection.recv({size}, socket.MSG_WAITALL):
  connection.sendall(b"!")
"""
_TCP_CLIENT = """
import json, socket, time
connection = socket.create_connection(({host!r}, {port}))
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
found = []
for number in range({warm} + {count}):
  begun = time.perf_counter()
  connection.sendall(bytes({size}))
  connection.recv(1)
  found.append(1e3 * (time.perf_counter() - begun))
print(json.dumps(found[{warm}:]))
"""


class Sent(NamedTuple):
  """Of one image over gRPC: milliseconds (median; 5% and 95%; median after silence), message bytes,
  bytes on the wire each way.
  """

  ms: float
  low: float
  high: float
  idle: float
  message: float
  up: float
  down: float


@contextlib.contextmanager
def process(*arguments: str, until: str | None = None) -> Iterator[subprocess.Popen]:
  """A process that has said `until`, ended afterwards."""
  child = subprocess.Popen(
    arguments, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
  )
  try:
    if until is not None:
      wait_for(child, until)
    yield child
  finally:
    child.terminate()
    child.communicate()


def wait_for(child: subprocess.Popen, text: str) -> None:
  """Reads a process's lines until one holds the text."""
  said = []
  while not (said and text in said[-1]):
    said.append(child.stdout.readline())
    if not said[-1]:
      raise UserError(f"{child.args} ended: {''.join(said)}; accepted: that it runs")


def python(hosts: Hosts | None, host: int, code: str) -> list[str]:
  """A command line of Python code on the edge (0) or the cloud (1), or on this machine."""
  command = [sys.executable, "-c", code]
  return command if hosts is None else hosts.command(hosts[host], *command)


def grpc_times(hosts: Hosts | None, shape: tuple[int, ...], count: int) -> Sent:
  """Images one after another to a server that answers at once; on loopback without hosts."""
  fields = {"host": CLOUD if hosts else "127.0.0.1", "port": PORT, "shape": shape}
  fields |= {"count": count, "warm": WARM, "idle": IDLE if hosts else 0}
  up = down = 0
  with (
    process(*python(hosts, 1, _SERVER.format(**fields)), until="ready"),
    process(*python(hosts, 0, _CLIENT.format(**fields)), until="warm") as edge,
  ):
    before = [hosts.sent_bytes(host) for host in hosts or ()]
    print(file=edge.stdin, flush=True)
    wait_for(edge, "counted")
    if hosts:
      up, down = (hosts.sent_bytes(host) - was for host, was in zip(hosts, before, strict=True))
    out, _ = edge.communicate("\n")
  found = np.array(json.loads(out.splitlines()[-1]))
  times, idle = found[:count, 0], found[count:, 0]
  low, high = np.percentile(times, [5, 95])
  late = float(np.median(idle)) if len(idle) else float("nan")
  message = statistics.fmean(found[:, 1])
  return Sent(float(np.median(times)), low, high, late, message, up / count, down / count)


def tcp_ms(hosts: Hosts, size: int, count: int) -> float:
  """Median milliseconds of so many bytes over the link, and one back."""
  fields = {"host": CLOUD, "port": PORT, "size": size, "count": count, "warm": WARM}
  with (
    process(*python(hosts, 1, _TCP_SERVER.format(**fields)), until="ready"),
    process(*python(hosts, 0, _TCP_CLIENT.format(**fields))) as edge,
  ):
    out, _ = edge.communicate()
  return statistics.median(json.loads(out))


def transport_table(hosts: Hosts, count: int) -> Iterator[str]:
  """Lines of the table, from so many images of each size."""
  yield (
    "| image | payload [B] | model [ms] | gRPC [ms] (5% to 95%) | gRPC / model | TCP alone [ms] | "
    "gRPC on loopback [ms] | gRPC / (TCP + loopback) | after 1 s of silence [ms] | message [B] | "
    "on the wire up [B] | down [B] |"
  )
  yield "|" + "---|" * 12
  for name, shape in SHAPES.items():
    sent, near = grpc_times(hosts, shape, count), grpc_times(None, shape, count)
    bare = tcp_ms(hosts, round(sent.message), count)
    payload = int(np.prod(shape))
    model = upload_ms(CostConfig(), payload) + CostConfig().round_trip_ms
    yield (
      f"| {name} {'x'.join(map(str, shape))} | {payload:,} | {model:.2f} | {sent.ms:.2f} "
      f"({sent.low:.2f} to {sent.high:.2f}) | **{sent.ms / model:.2f}** | {bare:.2f} | "
      f"{near.ms:.2f} | **{sent.ms / (bare + near.ms):.2f}** | {sent.idle:.2f} | "
      f"{sent.message:,.0f} | {sent.up:,.0f} | {sent.down:,.0f} |"
    )


def crowded_text(hosts: Hosts, count: int) -> str:
  """What busy programs beside it make of one size's time."""
  programs = 6 * (os.cpu_count() or 1)
  shape = SHAPES["CIFAR"]
  with contextlib.ExitStack() as stack:
    for _ in range(programs):
      stack.enter_context(process(sys.executable, "-c", "while True: pass"))
    sent = grpc_times(hosts, shape, count)
  return (
    f"Beside {programs} busy programs the image of {int(np.prod(shape)):,} bytes takes "
    f"{sent.ms:.2f} ms ({sent.low:.2f} to {sent.high:.2f})."
  )
