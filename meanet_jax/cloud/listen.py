"""Where the server listens, and what it demands there: loopback freely, TLS and a token beyond."""

import dataclasses
import ipaddress
import os
import socket
import ssl
from pathlib import Path

import grpc
import grpc.aio

from meanet_jax.errors import UserError
from meanet_jax.protocol import is_token

TOKEN_VARIABLE = "MEANET_CLOUD_TOKEN"


@dataclasses.dataclass(frozen=True)
class Tls:
  """PEM files: a certificate (and those that vouch for it), and its private key."""

  certificate: Path
  key: Path

  def credentials(self) -> grpc.ServerCredentials:
    """For gRPC."""
    return grpc.ssl_server_credentials([(self.key.read_bytes(), self.certificate.read_bytes())])


class Address:
  """One IP address, gRPC's port there, and perhaps one for probes."""

  def __init__(self, host: str, grpc_port: int, health_port: int | None = None):
    """Looks whether the ports are free; listens on neither yet.

    Args:
      host: an address or a name, of which the first address is taken.
      grpc_port, health_port: 0 for any free one. None for no port of the health service alone.

    Raises:
      UserError: no such host, or a port that is taken or not allowed.
    """
    self.host = _resolve(host)
    self.is_loopback = ipaddress.ip_address(self.host).is_loopback
    self.shown = f"[{self.host}]" if ":" in self.host else self.host
    if grpc_port == health_port != 0:
      raise UserError(f"--grpc-port and --health-port are both {grpc_port}; accepted: two ports")
    self._grpc_port, self.health_port = grpc_port, health_port
    _check_free(self.host, grpc_port, "grpc-port")
    if health_port is not None:
      _check_free(self.host, health_port, "health-port")

  def bind(self, server: grpc.aio.Server, tls: Tls | None) -> str:
    """Adds gRPC's port to a server; the URL.

    Raises:
      UserError: the port was taken since.
    """
    credentials = None if tls is None else tls.credentials()
    port = self._bind(server, self._grpc_port, "grpc-port", credentials)
    return f"{'grpc' if tls is None else 'grpcs'}://{self.shown}:{port}"

  def bind_health(self, server: grpc.aio.Server) -> str:
    """The same for the port of probes, which has no TLS, because Kubernetes' probes have none."""
    assert self.health_port is not None
    port = self._bind(server, self.health_port, "health-port", None)
    return f"grpc://{self.shown}:{port}"

  def _bind(
    self,
    server: grpc.aio.Server,
    port: int,
    flag: str,
    credentials: grpc.ServerCredentials | None,
  ) -> int:
    place = f"{self.shown}:{port}"
    try:
      if credentials is None:
        return server.add_insecure_port(place)
      return server.add_secure_port(place, credentials)
    except RuntimeError as error:
      raise UserError(
        f"--{flag} {port} of {self.host} is in use; accepted: a free port, or 0 for any"
      ) from error


def read_tls(certificate: str | None, key: str | None) -> Tls | None:
  """The files of two flags; None for neither.

  Raises:
    UserError: one alone, files that are missing or no PEM, a key of another certificate.
  """
  # No path is a mistake, an unset variable of a shell's: nobody wanted to serve without TLS.
  if certificate is None and key is None:
    return None
  if not certificate or not key:
    missing = "tls-certificate" if not certificate else "tls-key"
    raise UserError(f"flag --{missing} is missing; accepted: both PEM files, or neither")
  for name, path in (("tls-certificate", certificate), ("tls-key", key)):
    try:
      Path(path).read_bytes()
    except OSError as error:
      raise UserError(
        f"--{name} {path} cannot be read: {error.strerror}; accepted: a PEM file"
      ) from error
  try:
    # An empty password, so that nobody is asked for one.
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
  except (ssl.SSLError, ValueError) as error:
    raise UserError(
      f"--tls-certificate {certificate} and --tls-key {key} cannot be used: {error}; "
      "accepted: PEM files of a certificate and its key, which has no password"
    ) from error
  return Tls(Path(certificate), Path(key))


def read_token(path: str | None) -> str | None:
  """The bearer token in a file, or in the environment; None for neither.

  Never a flag's value: every user of a machine sees those.

  Raises:
    UserError: a file that cannot be read, or a token that no header can carry.
  """
  if path is not None:
    try:
      token, where = Path(path).read_text(encoding="utf-8").strip(), f"--token-file {path}"
    except (OSError, ValueError) as error:
      raise UserError(
        f"--token-file {path or repr(path)} cannot be read: {getattr(error, 'strerror', error)}; "
        "accepted: a file that holds the token"
      ) from error
  elif TOKEN_VARIABLE in os.environ:
    token, where = os.environ[TOKEN_VARIABLE].strip(), f"environment variable {TOKEN_VARIABLE}"
  else:
    return None
  if not is_token(token):
    raise UserError(f"{where} holds no token; accepted: printable ASCII without spaces")
  return token


def demand_protection(address: Address, tls: Tls | None, token: str | None) -> None:
  """Refuses to listen beyond loopback without TLS and a token.

  Raises:
    UserError: with what is missing.
  """
  missing = [
    what
    for what, given in (
      ("--tls-certificate and --tls-key", tls),
      (f"--token-file or {TOKEN_VARIABLE}", token),
    )
    if given is None
  ]
  if missing and not address.is_loopback:
    raise UserError(
      f"--host {address.host} can be reached from other machines, and {' and '.join(missing)} "
      "are missing; accepted: TLS and a bearer token, or a loopback address"
    )


def _resolve(host: str) -> str:
  try:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
  except (OSError, UnicodeError) as error:
    raise UserError(f"--host {host!r} is unknown: {error}; accepted: an address or name") from error
  return str(found[0][4][0])


def _check_free(host: str, port: int, flag: str) -> None:
  family = socket.AF_INET6 if ":" in host else socket.AF_INET
  try:
    with socket.socket(family, socket.SOCK_STREAM) as bound:
      bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
      bound.bind((host, port))
  except OSError as error:
    raise UserError(
      f"--{flag} {port} of {host} cannot be had: {error.strerror}; "
      "accepted: a free port, or 0 for any"
    ) from error
