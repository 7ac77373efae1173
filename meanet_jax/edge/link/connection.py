"""The way to a server of the Open Inference Protocol: its address, a channel, and what is wrong.

A server that cannot be reached may come back, so it is no error of whoever started the command; a
wrong token, certificate, model or class is (`check`).
"""

import ipaddress
import socket
import ssl
import urllib.parse
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as protocol
from tritonclient.grpc import service_pb2_grpc

from meanet_jax.edge.link.encoding import Encoding, encode
from meanet_jax.edge.link.messages import BadAnswerError, check_metadata, make_request, read_answer
from meanet_jax.errors import UserError
from meanet_jax.protocol import CLASS, LOGITS, MODEL, PROBABILITY, is_token

# A lost connection is tried again soon and often; gRPC's own defaults are 1 s, growing to 2 min.
# A channel with a pool of its own makes a connection of its own.
_OPTIONS = (
  ("grpc.initial_reconnect_backoff_ms", 100),
  ("grpc.min_reconnect_backoff_ms", 500),
  ("grpc.max_reconnect_backoff_ms", 1000),
  ("grpc.use_local_subchannel_pool", 1),
)
_REFUSED = {
  grpc.StatusCode.UNAUTHENTICATED: "refuses the token",
  grpc.StatusCode.PERMISSION_DENIED: "refuses the token",
  grpc.StatusCode.NOT_FOUND: f"has no model {MODEL}",
  grpc.StatusCode.UNIMPLEMENTED: "does not speak the Open Inference Protocol",
  grpc.StatusCode.INVALID_ARGUMENT: "refuses the request",
}
# gRPC's messages about servers of another protocol.
_NO_GRPC = ("http1.x server", "missing selected ALPN", "Expected SETTINGS frame")


class Address(NamedTuple):
  """target: HOST:PORT. tls: whether to encrypt. roots: PEM certificates to trust; None for the
  system's. token: sent along; None for none.
  """

  target: str
  tls: bool = False
  roots: bytes | None = None
  token: str | None = None

  def __str__(self) -> str:
    return f"{'grpcs' if self.tls else 'grpc'}://{self.target}"

  @property
  def host(self) -> str:
    """Without the brackets of an IPv6 address."""
    return self.target.rpartition(":")[0].strip("[]")

  @property
  def port(self) -> int:
    """Of gRPC."""
    return int(self.target.rpartition(":")[2])

  @property
  def metadata(self) -> tuple[tuple[str, str], ...]:
    """What accompanies every call."""
    return (("authorization", f"Bearer {self.token}"),) if self.token else ()


class Expected(NamedTuple):
  """What the server has to agree with: image [h, w, c], C, `classes_digest`, what is sent.

  logits: whether every image's logits are asked for, with which a policy fuses its answer.
  """

  shape: tuple[int, int, int]
  num_classes: int
  digest: str
  encoding: Encoding
  logits: bool = False

  def request(self, number: int, data: bytes) -> protocol.ModelInferRequest:
    """The request for one image, from its bytes in the encoding."""
    outputs = (CLASS, PROBABILITY, LOGITS) if self.logits else (CLASS, PROBABILITY)
    return make_request(number, data, self.shape, self.encoding, outputs)


class Checked(NamedTuple):
  """What `check` found.

  unreachable: that the server cannot be asked at present, and why; None if it answered. logits:
  False if it is known to give none.
  """

  unreachable: str | None
  logits: bool


def parse_address(url: str, ca_file: str | None = None, token_file: str | None = None) -> Address:
  """The address of `grpc://HOST:PORT` or `grpcs://HOST:PORT`.

  Raises:
    UserError: another URL, files that cannot be read or are empty, or that would be of no use; a
      token that would travel in the clear beyond this machine.
  """
  try:
    parts = urllib.parse.urlsplit(url)
    host, port = parts.hostname, parts.port
    rest = parts.path or parts.query or parts.fragment or parts.username
    if parts.scheme not in ("grpc", "grpcs") or not host or not port or rest:
      raise ValueError(url)
  except ValueError as error:
    raise UserError(
      f"--cloud is {url!r}; accepted: grpc://HOST:PORT or grpcs://HOST:PORT"
    ) from error
  tls = parts.scheme == "grpcs"
  if ca_file is not None and not tls:
    raise UserError(f"--ca-file with --cloud {url}; accepted: with grpcs://HOST:PORT")
  token = None
  if token_file is not None:
    token = _read(token_file, "token-file").decode("utf-8", "replace").strip()
    if not is_token(token):
      raise UserError(
        f"--token-file {token_file} holds no token; accepted: printable ASCII without spaces"
      )
  if token and not tls and not _is_loopback(host):
    raise UserError(f"--token-file with --cloud {url} would send it in the clear; accepted: grpcs")
  target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
  return Address(target, tls, None if ca_file is None else _read_roots(ca_file), token)


class Connection:
  """A channel to an address; connects when it is first used, and again when it was lost."""

  def __init__(self, address: Address):
    self._address = address
    # Nothing for this machine goes by the proxy of `http_proxy`, which would see its token.
    proxy = (("grpc.enable_http_proxy", 0),) if _is_loopback(address.host) else ()
    if address.tls:
      credentials = grpc.ssl_channel_credentials(address.roots)
      self._channel = grpc.secure_channel(address.target, credentials, _OPTIONS + proxy)
    else:
      self._channel = grpc.insecure_channel(address.target, _OPTIONS + proxy)
    self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

  def infer(
    self, request: protocol.ModelInferRequest, timeout: float
  ) -> protocol.ModelInferResponse:
    """The server's response. Raises grpc.RpcError."""
    return self._ask(self._stub.ModelInfer, request, timeout) or protocol.ModelInferResponse()

  def metadata(self, timeout: float) -> protocol.ModelMetadataResponse:
    """The server's metadata of model `cloud`. Raises grpc.RpcError."""
    request = protocol.ModelMetadataRequest(name=MODEL)
    asked = self._ask(self._stub.ModelMetadata, request, timeout)
    return asked or protocol.ModelMetadataResponse()

  def _ask(self, call: Any, request: Any, timeout: float) -> Any:
    """The response; None where the call ended well without one.

    A gRPC client accepts that, and bytes that change under way can cost the message alone.
    """
    return call(request, timeout=timeout, metadata=self._address.metadata)

  def close(self) -> None:
    """Gives up what is under way."""
    self._channel.close()


def check(address: Address, expected: Expected, timeout: float) -> Checked:
  """Asks for the model's metadata and for the class of a black image.

  Args:
    address: of the server.
    expected: what has to be there.
    timeout: seconds for each of the two.

  Raises:
    UserError: the server is there, and another than the one that edge.json goes with, or refuses
      this device.
  """
  connection = Connection(address)
  image = np.zeros(expected.shape, np.uint8)
  try:
    metadata = connection.metadata(timeout)
    if wrong := check_metadata(metadata, expected.shape, expected.num_classes, expected.encoding):
      raise UserError(f"{address}, model {MODEL}: {wrong}")
    logits = any(output.name == LOGITS for output in metadata.outputs)
    asked = expected._replace(logits=expected.logits and logits)
    request = asked.request(0, encode(expected.encoding, image))
    read_answer(connection.infer(request, timeout), 0, expected.num_classes, expected.digest)
  except BadAnswerError as error:
    raise UserError(
      f"{address}, model {MODEL}: {error}; accepted: a cloud of the classes in edge.json"
    ) from error
  except grpc.RpcError as error:
    code, details = error.code(), " ".join((error.details() or "").split())
    if code in _REFUSED:
      raise UserError(
        f"{address} {_REFUSED[code]}: {details}; accepted: {_advice(code)}"
      ) from error
    if any(words in details for words in _NO_GRPC):
      raise UserError(
        f"{address} is no gRPC server: {details}; accepted: the server's gRPC port"
      ) from error
    if address.tls:
      _check_certificate(address, timeout)
    else:
      _check_plain(address, timeout)
    unreachable = code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    cannot = "be reached" if unreachable else "answer"
    return Checked(f"cannot {cannot} ({code.name.lower()}: {details})", True)
  finally:
    connection.close()
  return Checked(None, logits)


def _advice(code: grpc.StatusCode) -> str:
  if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
    return "--token-file with the server's token"
  return f"a server of the Open Inference Protocol v2 with model {MODEL}"


def _check_certificate(address: Address, timeout: float) -> None:
  """Finds out whether a certificate cannot be trusted; gRPC reports only a failed connection.

  Raises:
    UserError: naming what is wrong with it.
  """
  roots = _pem_text(address.roots) if address.roots else None
  try:
    _shake_hands(address, ssl.create_default_context(cadata=roots), timeout)
  except ssl.SSLCertVerificationError as error:
    raise UserError(
      f"{address}: its certificate is refused: {error.verify_message}; accepted: a valid one for "
      "that host, signed by an authority of --ca-file"
    ) from error
  except ssl.SSLError as error:
    if error.reason == "WRONG_VERSION_NUMBER":
      raise UserError(f"{address} does not speak TLS; accepted: grpc://HOST:PORT") from error
  except OSError:
    return


def _check_plain(address: Address, timeout: float) -> None:
  """Finds out whether a server speaks TLS; gRPC reports only a broken connection.

  Raises:
    UserError: it does.
  """
  context = ssl.create_default_context()
  context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
  try:
    _shake_hands(address, context, timeout)
  except OSError:
    return
  raise UserError(f"{address} speaks TLS; accepted: grpcs://HOST:PORT")


def _shake_hands(address: Address, context: ssl.SSLContext, timeout: float) -> None:
  context.set_alpn_protocols(["h2"])
  with (
    socket.create_connection((address.host, address.port), timeout) as plain,
    context.wrap_socket(plain, server_hostname=address.host),
  ):
    return


def _read_roots(path: str) -> bytes:
  """Certificates to trust.

  Raises:
    UserError: a file that cannot be read, or holds none.
  """
  roots = _read(path, "ca-file")
  try:
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=_pem_text(roots))
  except (ssl.SSLError, ValueError) as error:
    raise UserError(
      f"--ca-file {path} holds no certificate: {error}; accepted: a PEM file"
    ) from error
  return roots


def _pem_text(data: bytes) -> str:
  """Certificates as `ssl` takes them: what is not ASCII can be in comments alone."""
  return data.decode("ascii", "ignore")


def _read(path: str, flag: str) -> bytes:
  try:
    return Path(path).read_bytes()
  except OSError as error:
    raise UserError(
      f"--{flag} {path} cannot be read: {error.strerror}; accepted: a readable file"
    ) from error


def _is_loopback(host: str) -> bool:
  try:
    return ipaddress.ip_address(host).is_loopback
  except ValueError:  # a name
    return host == "localhost"
