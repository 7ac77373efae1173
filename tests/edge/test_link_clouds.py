"""`meanet edge` with a cloud that is away, another one, or refuses."""

import contextlib
import socket
import threading

import pytest

from tests.edge.certificates import make_certificate
from tests.edge.edge_command import lines_of, one_line, run
from tests.edge.oip_server import oip_server


def test_a_cloud_that_is_away_at_the_start_is_warned_of_once(model, folder, tmp_path, capsys):
  with socket.socket() as taken:  # bound and not listening: nobody else gets the port
    taken.bind(("127.0.0.1", 0))
    url = f"grpc://127.0.0.1:{taken.getsockname()[1]}"
    output = tmp_path / "answers.jsonl"
    flags = ["--model", model, "--cloud", url, "--output", output]
    assert run(*flags, "--images", folder / "0*.png") == 0
  out, err = capsys.readouterr()
  (line,) = err.splitlines()
  assert line.startswith(f"warning: {url} cannot be reached (unavailable: ")
  assert line.endswith("the edge answers until it can")
  lines = lines_of(output)
  assert len(lines) == 10
  assert {line["fallback"] for line in lines if line["complex"]} <= {"circuit_open", "unreachable"}
  assert all(line["fallback"] is None for line in lines if not line["complex"])
  assert "answered by the edge in the cloud's place" in out


def test_a_server_of_another_protocol_is_no_cloud(model, folder, capsys):
  with socket.create_server(("127.0.0.1", 0)) as listening:
    url = f"grpc://127.0.0.1:{listening.getsockname()[1]}"
    assert run("--model", model, "--cloud", url, "--check-seconds=0.3", folder / "00.png") == 0
  assert "cannot be reached (deadline_exceeded" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1"])
def test_a_host_that_is_not_there_is_warned_of(model, folder, capsys, host):
  """An unknown name, and an address of nobody's machine (RFC 5737)."""
  url = f"grpc://{host}:8081"
  assert run("--model", model, "--cloud", url, "--check-seconds=0.3", folder / "00.png") == 0
  out, err = capsys.readouterr()
  (line,) = err.splitlines()
  assert line.startswith(f"warning: {url} cannot be reached (")
  assert out.startswith(f"{folder / '00.png'}: ")


def test_the_port_of_metrics_is_the_wrong_one(cloud_server, model, folder, capsys):
  url = f"grpc://127.0.0.1:{cloud_server.metrics_port}"
  flags = ["--model", model, "--cloud", url, "--check-seconds=60", folder / "00.png"]
  assert f"{url} is no gRPC server: " in one_line(capsys, *flags)


def test_a_web_server_is_the_wrong_one(model, folder, capsys):
  with socket.create_server(("127.0.0.1", 0)) as listening:

    def refuse() -> None:
      with contextlib.suppress(OSError):  # until the test ends
        while True:
          with listening.accept()[0] as connection:
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")

    threading.Thread(target=refuse, daemon=True).start()
    url = f"grpc://127.0.0.1:{listening.getsockname()[1]}"
    flags = ["--model", model, "--cloud", url, "--check-seconds=60", folder / "00.png"]
    assert f"{url} is no gRPC server: " in one_line(capsys, *flags)
    listening.shutdown(socket.SHUT_RDWR)


def test_servers_that_are_another_or_refuse(server, model, folder, tmp_path, capsys):
  token, wrong = tmp_path / "token", tmp_path / "wrong"
  token.write_text("right\n")
  wrong.write_text("wrong\n")
  url = f"grpc://127.0.0.1:{server.port}"
  flags = ["--model", model, "--cloud", url, folder / "00.png"]
  server.token = "right"
  assert "refuses the token" in one_line(capsys, *flags)
  assert "refuses the token" in one_line(capsys, *flags, "--token-file", wrong)
  assert run(*flags, "--token-file", token) == 0
  capsys.readouterr()
  server.token = None
  for change, words in (
    ({"model": "other"}, "has no model cloud: no model cloud; accepted: a server of the Open"),
    ({"shape": (9, 8, 1)}, "its image has shape [9, 8, 1] per image; accepted: [8, 8, 1]"),
    ({"num_classes": 11}, "its logits has shape [11] per image; accepted: [10]"),
    ({"mode": "other_classes"}, "its classes have SHA-256"),
    ({"mode": "no_class"}, "its class is 10 of 10"),
    ({"mode": "no_outputs"}, "it has no output class; accepted: a cloud of the classes in"),
    ({"mode": "invalid"}, "refuses the request: not that"),
  ):
    before = dict(vars(server))
    vars(server).update(change)
    assert words in one_line(capsys, *flags)
    vars(server).update(before)


def test_certificates(model, folder, tmp_path, capsys):
  good, expired, other = make_certificate(), make_certificate(expired=True), make_certificate()
  ca = tmp_path / "ca.pem"
  for served, trusted, words in (
    (good, good.chain, None),
    (good, "# Főtanúsítvány\n".encode() + good.chain, None),
    (expired, expired.chain, "its certificate is refused: certificate has expired; accepted"),
    (good, other.chain, "its certificate is refused: "),
    (good, None, "its certificate is refused: "),
    (good, b"no certificate", f"--ca-file {ca} holds no certificate"),
    (good, b"", f"--ca-file {ca} holds no certificate"),
    (good, b"k\xe4se", f"--ca-file {ca} holds no certificate"),
  ):
    with oip_server(tls=(served.key, served.chain)) as server:
      flags = ["--model", model, "--cloud", f"grpcs://localhost:{server.port}", folder / "00.png"]
      if trusted is not None:
        ca.write_bytes(trusted)
        flags += ["--ca-file", ca]
      if words is None:
        assert run(*flags) == 0
        capsys.readouterr()
      else:
        assert words in one_line(capsys, *flags)
  named = make_certificate(address="192.0.2.1")
  ca.write_bytes(named.chain)
  with oip_server(tls=(named.key, named.chain)) as server:
    flags = ["--model", model, "--cloud", f"grpcs://127.0.0.1:{server.port}", "--ca-file", ca]
    line = one_line(capsys, *flags, folder / "00.png")
    assert "its certificate is refused: IP address mismatch" in line
  with oip_server() as plain:
    flags = ["--model", model, "--cloud", f"grpcs://localhost:{plain.port}", folder / "00.png"]
    assert "does not speak TLS; accepted: grpc://HOST:PORT" in one_line(capsys, *flags)


def test_a_server_that_speaks_tls_is_asked_for_by_another_url(model, folder, capsys):
  made = make_certificate()
  with oip_server(tls=(made.key, made.chain)) as server:
    url = f"grpc://127.0.0.1:{server.port}"
    flags = ["--model", model, "--cloud", url, "--check-seconds=60", folder / "00.png"]
    assert f"{url} speaks TLS; accepted: grpcs://HOST:PORT" in one_line(capsys, *flags)


def test_this_machine_is_not_asked_through_a_proxy(server, model, folder, capsys, monkeypatch):
  for name in ("http_proxy", "grpc_proxy"):
    monkeypatch.setenv(name, "http://127.0.0.1:9")
  flags = ["--model", model, "--cloud", f"grpc://127.0.0.1:{server.port}", folder / "00.png"]
  assert run(*flags, "--check-seconds=60") == 0
  assert "warning" not in capsys.readouterr().err


def test_a_token_does_not_travel_in_the_clear(model, tmp_path, capsys):
  token = tmp_path / "token"
  token.write_text("secret")
  line = one_line(
    capsys, "--model", model, "a.png", "--cloud", "grpc://far.example:1", "--token-file", token
  )
  assert "--token-file with --cloud grpc://far.example:1 would send it in the clear" in line
  flags = ["--cloud", "grpc://127.far.example:1", "--token-file", token]
  assert "would send it in the clear" in one_line(capsys, "--model", model, "a.png", *flags)
  for text in ("", "two words", "two\nlines", "käse"):
    token.write_text(text)
    flags = ["--cloud", "grpc://127.0.0.1:1", "--token-file", token]
    assert "holds no token" in one_line(capsys, "--model", model, "a.png", *flags)
