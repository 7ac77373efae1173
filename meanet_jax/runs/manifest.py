"""SHA-256 of a checkpoint's files, beside them: what was written can be told from what is there.

Orbax notices a missing or truncated file when it reads it, and damage to its indices; a flipped
byte among the arrays themselves it restores as another number.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from meanet_jax.runs.directory import write_text

CHECKSUMS = "sha256.json"


def write_manifest(checkpoint: Path) -> None:
  """Writes down all but the files at the top, some of which Orbax writes later."""
  files = (path for path in checkpoint.glob("*/**/*") if path.is_file())
  _write(checkpoint, _digests(checkpoint, files))


def write_top_manifest(checkpoint: Path) -> None:
  """Writes down the files at the top too, of a checkpoint that has its name."""
  path = checkpoint / CHECKSUMS
  files = (file for file in checkpoint.iterdir() if file.is_file() and file != path)
  _write(checkpoint, json.loads(path.read_text()) | _digests(checkpoint, files))


def verify(checkpoint: Path, passing: str | None = None) -> str | None:
  """What is not as it was written, in a few words; None where all is.

  Args:
    checkpoint: its directory.
    passing: a directory in it that is not looked into.
  """
  try:
    written = json.loads((checkpoint / CHECKSUMS).read_text())
    for name, digest in written.items():
      if name.split("/")[0] != passing and _sha256(checkpoint / name) != digest:
        return f"{name} is not what was written"
  except FileNotFoundError as error:
    return f"{Path(error.filename).relative_to(checkpoint)} is missing"
  except (OSError, ValueError, AttributeError) as error:
    return f"{CHECKSUMS}: {error}" if isinstance(error, ValueError) else str(error)
  return None


def _write(checkpoint: Path, digests: dict[str, str]) -> None:
  # Without a newline at the end: were it missing, nobody would notice.
  write_text(checkpoint / CHECKSUMS, json.dumps(digests, indent=2))


def _digests(checkpoint: Path, files: Iterable[Path]) -> dict[str, str]:
  return {path.relative_to(checkpoint).as_posix(): _sha256(path) for path in sorted(files)}


def _sha256(path: Path) -> str:
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()
