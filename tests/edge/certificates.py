"""Certificates for localhost, made where they are needed."""

import datetime
import ipaddress
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


class Certificate(NamedTuple):
  """PEM: the private key, and the self-signed certificate that goes with it."""

  key: bytes
  chain: bytes


def make_certificate(expired: bool = False, address: str = "127.0.0.1") -> Certificate:
  """For localhost and an address; valid for a day from an hour ago, or until an hour ago."""
  key = ec.generate_private_key(ec.SECP256R1())
  name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
  now, hour = datetime.datetime.now(datetime.UTC), datetime.timedelta(hours=1)
  begin, end = (now - 2 * hour, now - hour) if expired else (now - hour, now + 24 * hour)
  hosts = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(address))]
  certificate = (
    x509.CertificateBuilder()
    .subject_name(name)
    .issuer_name(name)
    .public_key(key.public_key())
    .serial_number(x509.random_serial_number())
    .not_valid_before(begin)
    .not_valid_after(end)
    .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
    .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    .sign(key, hashes.SHA256())
  )
  private = key.private_bytes(
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.NoEncryption(),
  )
  return Certificate(private, certificate.public_bytes(serialization.Encoding.PEM))
