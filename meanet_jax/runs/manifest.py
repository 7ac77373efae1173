"""A checkpoint's manifest: the SHA-256 of its files, by which they are verified when it is read.

Orbax notices a missing or truncated file when it reads it, and errors in its indices; a flipped
byte among the arrays themselves it restores as another number.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from meanet_jax.files import write_text

MANIFEST = "sha256.json"


def write_manifest(checkpoint: Path) -> None:
  """Writes down all but the files at the top, some of which Orbax writes later."""
  files = (path for path in checkpoint.glob("*/**/*") if path.is_file())
  _write(checkpoint, _digests(checkpoint, files))


def write_top_manifest(checkpoint: Path) -> None:
  """Writes down the files at the top too, of a checkpoint that has its name."""
  path = checkpoint / MANIFEST
  files = (file for file in checkpoint.iterdir() if file.is_file() and file != path)
  _write(checkpoint, json.loads(path.read_text()) | _digests(checkpoint, files))


def verify(checkpoint: Path, skip: str | None = None) -> str | None:
  """What is not as it was written, in a few words; None where all is.

  Args:
    checkpoint: its directory.
    skip: a directory in it that is not read.
  """
  try:
    written = json.loads((checkpoint / MANIFEST).read_text())
    for name, digest in written.items():
      if name.split("/")[0] != skip and _sha256(checkpoint / name) != digest:
        return f"{name} is not what was written"
  except FileNotFoundError as error:
    return f"{Path(error.filename).relative_to(checkpoint)} is missing"
  except (OSError, ValueError, AttributeError) as error:
    return f"{MANIFEST}: {error}" if isinstance(error, ValueError) else str(error)
  return None


def _write(checkpoint: Path, digests: dict[str, str]) -> None:
  # Without a newline at the end: were it missing, nobody would notice.
  write_text(checkpoint / MANIFEST, json.dumps(digests, indent=2))


def _digests(checkpoint: Path, files: Iterable[Path]) -> dict[str, str]:
  return {path.relative_to(checkpoint).as_posix(): _sha256(path) for path in sorted(files)}


def _sha256(path: Path) -> str:
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()
