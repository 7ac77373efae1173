"""Arrays that are kept beside a data set, so that it need not be read again to know them."""

import os
import secrets
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from meanet_jax.log import logger


def load_arrays(path: Path) -> dict[str, np.ndarray] | None:
  """What `save_arrays` wrote, or None: no file yet, or a damaged one."""
  try:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
      return dict(arrays)
  except (OSError, ValueError, KeyError, zipfile.BadZipFile):
    return None


def save_arrays(path: Path, arrays: dict[str, Any]) -> None:
  """Writes the file completely or not at all; says so where it cannot be written."""
  # Hosts that share the directory may save at once, under one and the same process number.
  partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}.partial.npz")
  try:
    np.savez(partial, allow_pickle=False, **arrays)
    os.replace(partial, path)
  except OSError as error:
    partial.unlink(missing_ok=True)
    logger.info(f"the index cannot be kept in {path.parent} ({error.strerror}); it is made anew")
