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
from meanet_jax.errors import UserError
from tests.cloud.certificates import write_certificate
from tests.commands.test_app import command, one_line_error


def serve(*flags: str, env: dict[str, str] | None = None):
  return command("-m", "meanet_jax", "cloud", "--http_port=0", "--grpc_port=0", *flags, env=env)


def test_what_the_command_says(tmp_path: Path, finished_run):
  run = f"--workdir={finished_run.path}"
  assert "flag --workdir is missing" in one_line_error(serve())
  for flag, words in (
    ("--max_batch=100000000000", "--max_batch=100000000000: 100000000000 is not an integer in"),
    ("--max_wait_ms=nan", "--max_wait_ms=nan: accepted: a number"),
    ("--max_wait_ms=inf", "--max_wait_ms=inf: inf is not a number in the range [0, 60000]"),
    ("--max_request_mb=nan", "--max_request_mb=nan: accepted: a number"),
    ("--grace_seconds=nan", "--grace_seconds=nan: accepted: a number"),
    ("--grace_seconds=inf", "--grace_seconds=inf: inf is not a number in the range [0, 86400]"),
    ("--token_file=", "--token_file '' cannot be read"),
  ):
    assert words in one_line_error(serve(run, flag))
  nowhere = one_line_error(serve(f"--workdir={tmp_path}"))
  assert "holds no run; accepted: a directory made by train.py" in nowhere
  open_to_all = one_line_error(serve(run, "--host=0.0.0.0"))
  assert "--tls_certificate and --tls_key and --token_file or MEANET_CLOUD_TOKEN" in open_to_all
  with socket.create_server(("127.0.0.1", 0)) as taken:
    port = taken.getsockname()[1]
    assert f"--grpc_port {port} of 127.0.0.1" in one_line_error(serve(run, f"--grpc_port={port}"))


@pytest.mark.parametrize("flag", ["http_port", "grpc_port"])
def test_a_port_in_use(flag):
  with socket.create_server(("127.0.0.1", 0)) as taken:
    port = taken.getsockname()[1]
    ports = {"http_port": 0, "grpc_port": 0} | {flag: port}
    with pytest.raises(UserError, match=f"--{flag} {port} of 127.0.0.1 cannot be had"):
      Address("127.0.0.1", **ports)


def test_addresses():
  with pytest.raises(UserError, match="both 8123"):
    Address("127.0.0.1", 8123, 8123)
  with pytest.raises(UserError, match="--host 'no such host' is unknown"):
    Address("no such host", 0, 0)
  with pytest.raises(UserError, match="cannot be had"):
    Address("192.0.2.1", 0, 0)  # of nobody's machine (RFC 5737)
  for host, loopback in (("localhost", True), ("127.0.0.9", True), ("0.0.0.0", False)):
    address = Address(host, 0, 0)
    assert address.is_loopback is loopback
    assert address.http_port > 0
    address.http_socket.close()


def test_beyond_loopback_both_are_demanded(tmp_path: Path):
  tls = read_tls(*map(str, write_certificate(tmp_path)))
  address = Address("0.0.0.0", 0, 0)
  try:
    demand_protection(address, tls, "secret")
    with pytest.raises(UserError, match="--tls_certificate and --tls_key are missing"):
      demand_protection(address, None, "secret")
    with pytest.raises(UserError, match="--token_file or MEANET_CLOUD_TOKEN are missing"):
      demand_protection(address, tls, None)
  finally:
    address.http_socket.close()


def test_certificates(tmp_path: Path):
  certificate, key = map(str, write_certificate(tmp_path / "one"))
  _, other_key = map(str, write_certificate(tmp_path / "other"))
  assert read_tls(None, None) is None
  for given, words in (
    ((certificate, None), "--tls_key is missing"),
    ((None, key), "--tls_certificate is missing"),
    (("", ""), "--tls_certificate is missing"),
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
