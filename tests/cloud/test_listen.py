"""Flags that cannot be served with: one line, status 2, before anything is compiled."""

import socket
from pathlib import Path

import pytest

from meanet_jax.cloud.listen import (
  TOKEN_VARIABLE,
  Address,
  demand_protection,
  read_tls,
  read_token,
)
from meanet_jax.cloud.metrics import serve_metrics
from meanet_jax.errors import UserError
from tests.cloud.certificates import write_certificate
from tests.commands.test_app import command, one_line_error


def serve(*flags: str, env: dict[str, str] | None = None):
  return command("-m", "meanet_jax", "cloud", "--grpc-port=0", "--metrics-port=0", *flags, env=env)


def test_what_the_command_says(tmp_path: Path, finished_run):
  run = f"--workdir={finished_run.path}"
  assert "flag --workdir is missing" in one_line_error(serve())
  for flag, words in (
    ("--max-batch=100000000000", "--max-batch is 100000000000; accepted: an integer, 1 to 4096"),
    ("--max-wait-ms=nan", "--max-wait-ms is nan; accepted: 0 to 60000"),
    ("--max-wait-ms=inf", "--max-wait-ms is inf; accepted: 0 to 60000"),
    ("--max-request-mb=nan", "--max-request-mb is nan; accepted: 0.001 to 2000"),
    ("--grace-seconds=nan", "--grace-seconds is nan; accepted: 0 to 86400"),
    ("--grace-seconds=inf", "--grace-seconds is inf; accepted: 0 to 86400"),
    ("--max-queue=63", "--max-queue is 63 and --max-images 64; accepted: --max-queue of at least"),
    ("--token-file=", "--token-file '' cannot be read"),
  ):
    assert words in one_line_error(serve(run, flag))
  nowhere = one_line_error(serve(f"--workdir={tmp_path}"))
  assert "holds no run; accepted: a directory made by meanet train" in nowhere
  open_to_all = one_line_error(serve(run, "--host=0.0.0.0"))
  assert "--tls-certificate and --tls-key and --token-file or MEANET_CLOUD_TOKEN" in open_to_all
  with socket.create_server(("127.0.0.1", 0)) as taken:
    port = taken.getsockname()[1]
    assert f"--grpc-port {port} of 127.0.0.1" in one_line_error(serve(run, f"--grpc-port={port}"))


@pytest.mark.parametrize("flag", ["grpc_port", "health_port"])
def test_a_port_in_use(flag):
  with socket.create_server(("127.0.0.1", 0)) as taken:
    port = taken.getsockname()[1]
    ports = {"grpc_port": 0} | {flag: port}
    with pytest.raises(
      UserError, match=f"--{flag.replace('_', '-')} {port} of 127.0.0.1 cannot be had"
    ):
      Address("127.0.0.1", **ports)


def test_a_port_of_metrics_in_use():
  with socket.create_server(("127.0.0.1", 0)) as taken:
    port = taken.getsockname()[1]
    with pytest.raises(UserError, match=f"--metrics-port {port} of 127.0.0.1 cannot be had"):
      serve_metrics(port)


def test_addresses():
  with pytest.raises(UserError, match="both 8123"):
    Address("127.0.0.1", 8123, 8123)
  with pytest.raises(UserError, match="--host 'no such host' is unknown"):
    Address("no such host", 0)
  with pytest.raises(UserError, match="cannot be had"):
    Address("192.0.2.1", 0)  # of nobody's machine (RFC 5737)
  for host, loopback in (("localhost", True), ("127.0.0.9", True), ("0.0.0.0", False)):
    assert Address(host, 0).is_loopback is loopback


def test_beyond_loopback_both_are_demanded(tmp_path: Path):
  tls = read_tls(*map(str, write_certificate(tmp_path)))
  address = Address("0.0.0.0", 0)
  demand_protection(address, tls, "secret")
  with pytest.raises(UserError, match="--tls-certificate and --tls-key are missing"):
    demand_protection(address, None, "secret")
  with pytest.raises(UserError, match="--token-file or MEANET_CLOUD_TOKEN are missing"):
    demand_protection(address, tls, None)


def test_certificates(tmp_path: Path):
  certificate, key = map(str, write_certificate(tmp_path / "one"))
  _, other_key = map(str, write_certificate(tmp_path / "other"))
  assert read_tls(None, None) is None
  for given, words in (
    ((certificate, None), "--tls-key is missing"),
    ((None, key), "--tls-certificate is missing"),
    (("", ""), "--tls-certificate is missing"),
    ((str(tmp_path / "none"), key), "cannot be read: No such file.*; accepted: a PEM file"),
    ((certificate, str(tmp_path)), "cannot be read: Is a directory"),
    ((certificate, other_key), "cannot be used"),
    ((key, certificate), "cannot be used"),
  ):
    with pytest.raises(UserError, match=words):
      read_tls(*given)


def test_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
  file = tmp_path / "token"
  monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
  assert read_token(None) is None
  file.write_text("s3cret\n")
  assert read_token(str(file)) == "s3cret"
  monkeypatch.setenv(TOKEN_VARIABLE, "other")
  assert read_token(None) == "other"
  assert read_token(str(file)) == "s3cret"
  monkeypatch.setenv(TOKEN_VARIABLE, "")
  with pytest.raises(UserError, match="environment variable MEANET_CLOUD_TOKEN holds no token"):
    read_token(None)
  for content in (b"", b" \n", b"two words", "schlüssel".encode(), b"\xff\xfe"):
    file.write_bytes(content)
    with pytest.raises(UserError, match="token"):
      read_token(str(file))
  for path in (str(tmp_path / "none"), ""):
    with pytest.raises(UserError, match=r"cannot be read: .*; accepted: a file that holds"):
      read_token(path)
