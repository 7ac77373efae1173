"""Certificates for 127.0.0.1, made when a test runs."""

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def write_certificate(directory: Path, days: float = 1.0) -> tuple[Path, Path]:
  """Paths of a self-signed certificate, valid for this long from yesterday on, and of its key."""
  key = ec.generate_private_key(ec.SECP256R1())
  name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
  begin = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
  names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
  certificate = (
    x509.CertificateBuilder()
    .subject_name(name)
    .issuer_name(name)
    .public_key(key.public_key())
    .serial_number(x509.random_serial_number())
    .not_valid_before(begin)
    .not_valid_after(begin + datetime.timedelta(days=1 + days))
    .add_extension(x509.SubjectAlternativeName(names), critical=False)
    .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    .sign(key, hashes.SHA256())
  )
  directory.mkdir(parents=True, exist_ok=True)
  paths = directory / "tls.crt", directory / "tls.key"
  paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
  paths[1].write_bytes(
    key.private_bytes(
      serialization.Encoding.PEM,
      serialization.PrivateFormat.PKCS8,
      serialization.NoEncryption(),
    )
  )
  return paths
