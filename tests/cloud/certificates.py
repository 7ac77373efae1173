"""The files of a certificate for 127.0.0.1, made when a test runs."""

from pathlib import Path

from tests.edge.certificates import make_certificate


def write_certificate(directory: Path) -> tuple[Path, Path]:
  """Paths of a self-signed certificate, and of its key."""
  made = make_certificate()
  directory.mkdir(parents=True, exist_ok=True)
  paths = directory / "tls.crt", directory / "tls.key"
  paths[0].write_bytes(made.chain)
  paths[1].write_bytes(made.key)
  return paths
