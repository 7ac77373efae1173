"""Arrays that are kept beside a data set, so that it need not be read again to know them."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from meanet_jax.files import replacing
from meanet_jax.log import logger


def load_arrays(path: Path, names: Collection[str] | None = None) -> dict[str, np.ndarray] | None:
  """What `save_arrays` wrote, or None: no file yet, or a damaged one.

  Args:
    path: of the file.
    names: of the arrays that are read; all if not given.
  """
  try:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
      return {name: arrays[name] for name in (arrays if names is None else names)}
  except Exception:  # damaged files raise whatever NumPy and its decoders run into
    return None


def save_arrays(path: Path, arrays: dict[str, Any], what: str = "the index") -> bool:
  """Writes the file completely or not at all; says so where it cannot be written.

  Args:
    path: of the file.
    arrays: by name.
    what: they are, for the message.

  Returns:
    Whether it was written.
  """
  try:
    with replacing(path) as file:
      np.savez(file, allow_pickle=False, **arrays)
  except OSError as error:
    logger.info(f"{what} cannot be kept in {path.parent} ({error.strerror}); made anew each time")
    return False
  return True
