"""Two hosts over a link of 18.88 Mbit/s and 20 ms, beside the cost model; writes link_shaped.md.

Command: python -m benchmarks.link_shaped [--workdir runs/digits]

Needs root, network namespaces and /dev/net/tun.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from meanet_jax import cli
from meanet_jax.config import CostConfig
from meanet_jax.cost.energy import upload_ms
from meanet_jax.errors import UserError
from meanet_jax.export.pipeline import Options, export
from meanet_jax.export.source import from_run
from meanet_jax.export.versions import installed
from meanet_jax.runs.directory import environment, write_text
from tests.runtime.certificates import make_certificate
from tests.runtime.two_hosts import CLOUD, EDGE, Hosts, two_hosts, unavailable

ROOT = Path(__file__).parent.parent
MBPS, ROUND_TRIP_MS = CostConfig().uplink_mbps, CostConfig().round_trip_ms
SHAPES = {"digits": (8, 8, 1), "Fashion-MNIST": (28, 28, 1), "CIFAR": (32, 32, 3)}
SHAPES |= {"ImageNet": (224, 224, 3)}
PORT = 8081
_WORKDIR = flags.DEFINE_string("workdir", "runs/digits", "A run; made when it is missing.")
_SENT = flags.DEFINE_integer("sent", 60, "Images of each size, one after another.", lower_bound=5)

# A server that answers at once: what remains is the link.
_SERVER = """
import sys
from tests.runtime.oip_server import oip_server
with oip_server({port}, host={host!r}) as server:
  print("ready", flush=True)
  sys.stdin.read()
"""
_CLIENT = """
import json, sys
import numpy as np
from meanet_jax.runtime.connection import Address, Expected
from meanet_jax.runtime.encoding import Encoding
from meanet_jax.runtime.offload import Offloader, Patience
from meanet_jax.runtime.protocol import classes_digest
names = tuple("0123456789")
expected = Expected({shape}, 10, classes_digest(names), Encoding())
offloader = Offloader(Address("{host}:{port}"), expected, 1, Patience(deadline=60.0))
image = np.random.default_rng(0).integers(256, size={shape}).astype(np.uint8)
found = []
for number in range({count}):
  offloader.submit(number, number, image)
  _, reply = offloader.finished(wait=True)
  assert reply.fallback is None, reply.fallback
  found.append([1e3 * reply.cloud_seconds, reply.bytes_up, reply.bytes_down])
  if number == {warm} - 1:
    print("warm", flush=True)
    sys.stdin.readline()
offloader.close()
print(json.dumps(found[{warm}:]))
"""


class Sent(NamedTuple):
  """Of one image: milliseconds (median; 5% and 95%), message bytes, bytes on the wire each way."""

  ms: float
  low: float
  high: float
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
      said = []
      while not (said and until in said[-1]):
        said.append(child.stdout.readline())
        if not said[-1]:
          raise UserError(f"{arguments[-1]} ended: {''.join(said)}; accepted: that it runs")
    yield child
  finally:
    child.terminate()
    child.communicate()


def transport(hosts: Hosts, shape: tuple[int, ...]) -> Sent:
  """Images of a size, one after another, to a server that answers at once."""
  warm, count = 20, _SENT.value  # the congestion window and the interpreter settle first
  code = _SERVER.format(port=PORT, host=CLOUD)
  fields = {"shape": shape, "host": CLOUD, "port": PORT, "count": warm + count, "warm": warm}
  client = hosts.command(hosts.edge, sys.executable, "-c", _CLIENT.format(**fields))
  with (
    process(*hosts.command(hosts.cloud, sys.executable, "-c", code), until="ready"),
    process(*client, until="warm") as edge,
  ):
    before = [hosts.sent_bytes(host) for host in hosts]
    out, _ = edge.communicate("\n")
    up, down = (hosts.sent_bytes(host) - was for host, was in zip(hosts, before, strict=True))
  found = np.array(json.loads(out.splitlines()[-1]))
  low, high = np.percentile(found[:, 0], [5, 95])
  message = statistics.fmean(found[:, 1])
  return Sent(float(np.median(found[:, 0])), low, high, message, up / count, down / count)


def transport_table(hosts: Hosts) -> Iterator[str]:
  """Lines of the first table."""
  yield (
    "| image | payload [B] | model [ms] | measured [ms] (5% to 95%) | measured / model | "
    "message [B] | on the wire up [B] | down [B] |"
  )
  yield "|" + "---|" * 8
  for name, shape in SHAPES.items():
    sent = transport(hosts, shape)
    payload = int(np.prod(shape))
    model = upload_ms(CostConfig(), payload) + ROUND_TRIP_MS
    yield (
      f"| {name} {'x'.join(map(str, shape))} | {payload:,} | {model:.2f} | {sent.ms:.2f} "
      f"({sent.low:.2f} to {sent.high:.2f}) | **{sent.ms / model:.2f}** | {sent.message:,.0f} | "
      f"{sent.up:,.0f} | {sent.down:,.0f} |"
    )


def pair(hosts: Hosts | None, workdir: Path, model: Path, window: int) -> dict[str, Any]:
  """The running pair over the test split: the summary's figures; over loopback without hosts."""
  with tempfile.TemporaryDirectory() as directory:
    secret = Path(directory)
    address = CLOUD if hosts else "127.0.0.1"
    certificate = make_certificate(address=address)
    for name, data in (("key", certificate.key), ("chain", certificate.chain), ("token", b"t0ken")):
      (secret / name).write_bytes(data)
    server = [
      *(sys.executable, "-m", "meanet_jax.runtime.cloud", f"--workdir={workdir}"),
      *(f"--host={address}", f"--grpc_port={PORT}", "--http_port=0"),
      *(f"--tls_certificate={secret / 'chain'}", f"--tls_key={secret / 'key'}"),
      f"--token_file={secret / 'token'}",
    ]
    edge = [
      *(sys.executable, "-m", "meanet_jax.runtime.edge", "--model", str(model)),
      *("--cloud", f"grpcs://{address}:{PORT}", "--ca_file", str(secret / "chain")),
      *("--token_file", str(secret / "token"), "--dataset", "digits", "--window", str(window)),
      *("--deadline_ms", "10000", "--output", str(secret / "answers.jsonl")),
      *("--summary", str(secret / "summary.json")),
    ]
    if hosts:
      server, edge = hosts.command(hosts.cloud, *server), hosts.command(hosts.edge, *edge)
    with process(*server, until="cloud tier ready"):
      subprocess.run(edge, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    lines = [json.loads(line) for line in (secret / "answers.jsonl").read_text().splitlines()]
    figures = json.loads((secret / "summary.json").read_text())
  assert not figures["fallbacks"], figures["fallbacks"]
  sent = sorted(line["ms"]["cloud"] for line in lines if line["exit"] == "cloud")
  figures["sent_ms"] = statistics.median(sent)
  return figures


def pair_table(hosts: Hosts, workdir: Path, model: Path) -> Iterator[str]:
  """Lines of the second table."""
  yield (
    "| link | window | sent [%] | accuracy [%] | cost model: latency [ms] | measured | "
    "and waiting | cost model: bytes up | messages | a sent image [ms], median | images/s |"
  )
  yield "|" + "---|" * 11
  for name, where, window in (
    ("loopback", None, 1),
    (f"{MBPS} Mbit/s, {ROUND_TRIP_MS:g} ms", hosts, 1),
    (f"{MBPS} Mbit/s, {ROUND_TRIP_MS:g} ms", hosts, 16),
  ):
    found = pair(where, workdir, model, window)
    predicted, measured = found["cost_model"], found["measured"]
    yield (
      f"| {name} | {window} | {100 * found['sent']:.2f} | {100 * found['accuracy']:.2f} | "
      f"{predicted['latency_ms']:.2f} | {measured['service_ms']:.2f} | "
      f"{measured['latency_ms']:.2f} | "
      f"{predicted['bytes_up']:.1f} | {measured['bytes_up']:.1f} | {found['sent_ms']:.1f} | "
      f"{found['images'] / found['seconds']:.0f} |"
    )


def main() -> None:
  """Measures, and writes the page."""
  if reason := unavailable():
    raise UserError(f"{reason}; accepted: Linux, as root, with iproute2 and /dev/net/tun")
  workdir = ROOT / _WORKDIR.value
  if not (workdir / "eval/summary.json").exists():
    for command in (["train.py", "--config=configs/digits.py"], ["eval.py"]):
      subprocess.run([sys.executable, *command, f"--workdir={workdir}"], cwd=ROOT, check=True)
  lines = []
  with tempfile.TemporaryDirectory() as model, two_hosts(MBPS, ROUND_TRIP_MS / 2e3) as hosts:
    export(from_run(workdir, print), model, Options(), print)
    for table in (transport_table(hosts), pair_table(hosts, workdir, Path(model))):
      for line in table:
        print(line, flush=True)
        lines.append(line)
      lines.append("")
  at = lines.index("")
  write_text(Path(__file__).with_suffix(".md"), page(lines[:at], lines[at + 1 : -1]))


def page(transport_lines: list[str], pair_lines: list[str]) -> str:
  """The page around the tables."""
  here = environment()
  packages = ("grpcio", "tritonclient", "kserve", "ai-edge-litert", "jax", "numpy")
  versions = ", ".join(f"{name} {installed(name)}" for name in packages)
  return "\n".join(
    [
      "# Two hosts, one link",
      "",
      f"Two network namespaces ({EDGE} and {CLOUD}) joined by a link of {MBPS} Mbit/s each way "
      f"(`tc`'s token bucket) and {ROUND_TRIP_MS:g} ms of round trip (a process that hands on each "
      "IP packet 10 ms later, because netem is in few kernels). Made by "
      "`python -m benchmarks.link_shaped`.",
      "",
      "## The link alone",
      "",
      f"{_SENT.value} raw images, one after another over one gRPC connection without TLS, to a "
      "server that answers at once. Model: payload / rate + round trip.",
      "",
      *transport_lines,
      "",
      "On the wire: whole IP packets, acknowledgements of the other direction among them.",
      "",
      "## The running pair",
      "",
      "Digits' test split at its evaluation's operating point, TLS and token, with the real cloud "
      "tier (which waits up to 5 ms for a batch) on the other host. Latency is the mean of all "
      "images, sent or not; waiting is for a place in the window.",
      "",
      *pair_lines,
      "",
      f"Hardware: {os.cpu_count()} cores for both hosts; {here['platform']}.",
      f"Load average over the last 5 minutes at the end: {os.getloadavg()[1]:.1f}.",
      f"Versions: Python {here['python']}, {versions}.",
      "",
    ]
  )


if __name__ == "__main__":
  cli.run(main)
