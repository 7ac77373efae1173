"""The running pair on two hosts, beyond loopback: TLS, a token, and bytes as the wire has them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from meanet_jax.edge.link.encoding import Encoding
from meanet_jax.edge.link.messages import make_request
from meanet_jax.evaluation.records_file import load_records
from meanet_jax.routing.rules import route
from tests.edge.certificates import make_certificate
from tests.edge.two_hosts import CLOUD, Hosts, two_hosts, unavailable
from tests.servers import ROOT, CloudServer, cloud_server_process


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
  if reason := unavailable():
    pytest.skip(reason)
  with two_hosts() as hosts:
    yield hosts


@pytest.fixture(scope="module")
def secrets(tmp_path_factory) -> Path:
  directory = tmp_path_factory.mktemp("secrets")
  made = make_certificate(address=CLOUD)
  for name, data in (("chain", made.chain), ("key", made.key), ("token", b"t0ken\n")):
    (directory / name).write_bytes(data)
  return directory


@pytest.fixture(scope="module")
def server(hosts, secrets, evaluated_run) -> Iterator[CloudServer]:
  """On the host `cloud`, at the address that the other host reaches."""
  flags = [f"--tls-certificate={secrets / 'chain'}", f"--tls-key={secrets / 'key'}"]
  flags += [f"--host={CLOUD}", f"--token-file={secrets / 'token'}"]
  with cloud_server_process(evaluated_run, *flags, prefix=hosts.command(hosts.cloud)) as server:
    yield server


def edge(hosts: Hosts, exported: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
  """The command on the host `edge`."""
  command = [sys.executable, "-m", "meanet_jax", "edge", "--model", str(exported)]
  return subprocess.run(
    hosts.command(hosts.edge, *command, "--dataset", "digits", *arguments),
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
  )


def test_answers_are_evaluations_and_bytes_the_wires(
  hosts, server, secrets, evaluated_run, source, exported, tmp_path
):
  output, summary = tmp_path / "answers.jsonl", tmp_path / "summary.json"
  before = [hosts.sent_bytes(host) for host in hosts]
  ran = edge(
    hosts,
    exported,
    *("--cloud", f"grpcs://{CLOUD}:{server.grpc_port}", "--ca-file", str(secrets / "chain")),
    *("--token-file", str(secrets / "token"), "--deadline-ms", "60000"),
    *("--output", str(output), "--summary", str(summary)),
  )
  assert ran.returncode == 0, ran.stderr
  wire = [hosts.sent_bytes(host) - was for host, was in zip(hosts, before, strict=True)]
  lines = sorted(map(json.loads, output.read_text().splitlines()), key=lambda line: line["id"])
  records = load_records(evaluated_run / "eval" / "records.npz", None).records()
  point = source.operating_point
  expected = route(point.policy, point.thresholds, records, point.hard_classes.mask)
  assert [line["class"] for line in lines] == expected.prediction.tolist()
  names = ("main", "extension", "cloud")
  assert [line["exit"] for line in lines] == [names[exit] for exit in expected.exit]
  sent = [line["id"] for line in lines if line["exit"] == "cloud"]
  assert 0 < len(sent) < len(lines)
  images = source.dataset.test.images
  for line in lines:
    up = 0
    if line["exit"] == "cloud":
      image = np.ascontiguousarray(images[line["id"]])
      up = make_request(line["id"], image.tobytes(), image.shape, Encoding()).ByteSize()
    assert line["bytes_up"] == up
  up, down = (sum(line[name] for line in lines) for name in ("bytes_up", "bytes_down"))
  measured = json.loads(summary.read_text())["measured"]
  assert measured["bytes_up"] * len(lines) == pytest.approx(up)
  # Nothing goes by another way, and headers of five layers are no more than this.
  for counted, passed in ((up, wire[0]), (down, wire[1])):
    assert counted < passed < counted + 1000 * len(sent) + 20_000


@pytest.mark.full
def test_who_is_not_let_in(hosts, server, secrets, exported, tmp_path):
  wrong = tmp_path / "wrong"
  wrong.write_text("other")
  url, trust = f"grpcs://{CLOUD}:{server.grpc_port}", ["--ca-file", str(secrets / "chain")]
  for arguments, words in (
    (["--cloud", url, *trust], "refuses the token"),
    (["--cloud", url, *trust, "--token-file", str(wrong)], "refuses the token"),
    (["--cloud", url, "--token-file", str(secrets / "token")], "its certificate is refused"),
  ):
    ran = edge(hosts, exported, *arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
    (line,) = ran.stderr.splitlines()
    assert line.startswith("error: ")
    assert words in line
