"""Two hosts over a link of 18.88 Mbit/s and 20 ms, beside the cost model; writes link_shaped.md.

Command: python -m benchmarks.link_shaped [--workdir runs/digits]

Needs root, network namespaces and /dev/net/tun.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.digits_run import DIGITS, run_directory
from benchmarks.link_transport import (
  IDLE,
  PORT,
  ROOT,
  WARM,
  crowded_text,
  process,
  transport_table,
)
from benchmarks.measured_on import measured_on
from meanet_jax.commands.app import run_script
from meanet_jax.commands.flags import Parser, add_integer, add_path
from meanet_jax.config.ranges import Range
from meanet_jax.config.schema import CostConfig
from meanet_jax.errors import UserError
from meanet_jax.files import write_text
from meanet_jax.tflite.export import Options, export
from meanet_jax.tflite.source import from_run
from tests.edge.certificates import make_certificate
from tests.edge.two_hosts import CLOUD, EDGE, Hosts, Link, two_hosts, unavailable

MBPS, ROUND_TRIP_MS = CostConfig().uplink_mbps, CostConfig().round_trip_ms
LINK = Link(MBPS, ROUND_TRIP_MS / 2e3)
TITLES = (
  "link",
  "window",
  "sent [%]",
  "accuracy [%]",
  "latency [ms]: model",
  "measured",
  "and waiting",
  "edge [ms]: model",
  "measured",
  "a sent image [ms]: model",
  "measured",
  "bytes up: model",
  "messages",
  "images/s",
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
      *(sys.executable, "-m", "meanet_jax", "cloud", f"--workdir={workdir}"),
      *(f"--host={address}", f"--grpc_port={PORT}", "--metrics_port=0"),
      *(f"--tls_certificate={secret / 'chain'}", f"--tls_key={secret / 'key'}"),
      f"--token_file={secret / 'token'}",
    ]
    edge = [
      *(sys.executable, "-m", "meanet_jax", "edge", "--model", str(model)),
      *("--cloud", f"grpcs://{address}:{PORT}", "--ca_file", str(secret / "chain")),
      *("--token_file", str(secret / "token"), "--dataset", "digits", "--window", str(window)),
      *("--deadline_ms", "10000", "--output", str(secret / "answers.jsonl")),
      *("--summary", str(secret / "summary.json")),
    ]
    if hosts:
      server, edge = hosts.command(hosts.cloud, *server), hosts.command(hosts.edge, *edge)
    with process(*server, until="cloud tier ready"):
      subprocess.run(edge, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    figures = json.loads((secret / "summary.json").read_text())
  assert not figures["fallbacks"], figures["fallbacks"]
  return figures


def pair_row(name: str, window: int, found: dict[str, Any]) -> str:
  """A line of the second table. Means per image, of all or of those that are sent."""
  predicted, measured, sent = found["cost_model"], found["measured"], found["sent"]
  edge = predicted["macs_edge"] / (CostConfig().edge_gmacs_per_second * 1e6)
  cells = [
    name,
    f"{window}",
    f"{100 * sent:.2f}",
    f"{100 * found['accuracy']:.2f}",
    f"{predicted['latency_ms']:.2f}",
    f"{measured['service_ms']:.2f}",
    f"{measured['latency_ms']:.2f}",
    f"{edge:.2f}",
    f"{measured['edge_ms']:.2f}",
    f"{(predicted['latency_ms'] - edge) / sent:.2f}",
    f"{measured['cloud_ms_per_sent']:.2f}",
    f"{predicted['bytes_up']:.1f}",
    f"{measured['bytes_up']:.1f}",
    f"{found['images'] / found['seconds']:.0f}",
  ]
  return f"| {' | '.join(cells)} |"


def pair_lines(hosts: Hosts, workdir: Path, model: Path) -> list[str]:
  """The second table, and what its difference is made of."""
  shaped = f"{MBPS} Mbit/s, {ROUND_TRIP_MS:g} ms"
  kinds = (("loopback", None, 1), (shaped, hosts, 1), (shaped, hosts, 16))
  found = [pair(where, workdir, model, window) for _, where, window in kinds]
  near, far = (one["measured"]["cloud_ms_per_sent"] for one in found[:2])
  return [
    f"| {' | '.join(TITLES)} |",
    "|" + "---|" * len(TITLES),
    *(pair_row(k[0], k[2], one) for k, one in zip(kinds, found, strict=True)),
    "",
    f"One at a time, a sent image takes {far:.1f} ms over the link and {near:.1f} ms on loopback. "
    f"What the link makes of it is the difference, {far - near:.1f} ms, and that alone is in the "
    f"cost model. The {near:.1f} ms are TLS, gRPC in Python at both ends and the cloud tier, which "
    "waits up to 5 ms for a batch; where they matter, `cost.round_trip_ms` is the place for them. "
    "The edge's time in the model is MACs by a device's rate, without calls into an interpreter.",
  ]


def add_flags(parser: Parser) -> None:
  """The benchmark's flags."""
  add_path(parser, "--workdir", default=DIGITS, help="a run on digits; the default one is made")
  add_integer(parser, "--sent", Range(5), default=60, help="images of each size, one after another")
  add_path(parser, "--output", default="benchmarks/link_shaped.md", help="the page")


def run(given: argparse.Namespace) -> None:
  """Measures, and writes the page."""
  if reason := unavailable(LINK):
    raise UserError(f"{reason}; accepted: Linux, as root, with iproute2 and /dev/net/tun")
  workdir = run_directory(given.workdir)
  with tempfile.TemporaryDirectory() as model, two_hosts(LINK) as hosts:
    export(from_run(workdir), model, Options())
    transport = []
    for line in transport_table(hosts, given.sent):
      print(line, flush=True)
      transport.append(line)
    crowded = crowded_text(hosts, given.sent)
    pairs = pair_lines(hosts, workdir, Path(model))
  text = page(given.sent, transport, crowded, pairs)
  print(text)
  write_text(ROOT / given.output, text)


def page(sent: int, transport_lines: list[str], crowded: str, pairs: list[str]) -> str:
  """The page around tables and text."""
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
      f"{sent} raw images of each size, one after another over one gRPC connection without "
      f"TLS, to a server that answers at once, after {WARM} that do not count; medians. Model: "
      "payload / rate + round trip. TCP alone: the message's bytes over the same link, one byte "
      f"back. After silence: {IDLE} images that each follow a second without any, when a kernel "
      f"may begin slowly again (here: {_congestion()}). On the wire: whole IP packets, "
      "acknowledgements of the other direction among them.",
      "",
      *transport_lines,
      "",
      "What the model leaves out is in the two columns after it. TCP alone is the model, headers, "
      "and a wire that is a process, never early and a little late. gRPC on loopback is what both "
      "ends compute. Where gRPC takes much longer than both together, neither link nor protocol "
      "does it, but other programs on these cores: an image waits for its turn at client, wire and "
      f"server, and at the wire again. {crowded}",
      "",
      "## The running pair",
      "",
      "Digits' test split at its evaluation's operating point, TLS and token, with the real cloud "
      "tier on the other host. Latency and the edge's time are means of all images, sent or not; "
      "waiting is for a place in the window.",
      "",
      *pairs,
      "",
      "Both hosts are on the same cores.",
      *measured_on("grpcio", "tritonclient", "ai-edge-litert"),
    ]
  )


def _congestion() -> str:
  path = Path("/proc/sys/net/ipv4/tcp_congestion_control")
  return path.read_text().strip() if path.exists() else "congestion control unknown"


if __name__ == "__main__":
  sys.exit(run_script(__doc__, add_flags, run))
