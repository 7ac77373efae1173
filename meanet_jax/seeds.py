"""Names as numbers that seeds and keys are folded with."""

import zlib

import jax
import numpy as np
from jaxtyping import Array, Key


def name_number(name: str) -> int:
  """A name as a 32-bit number; the same in every process, unlike `hash`."""
  return zlib.crc32(name.encode())


def named_key(seed: int, name: str) -> Key[Array, ""]:
  """The random key of whatever `name` stands for, folded from (seed, name)."""
  return jax.random.fold_in(jax.random.key(seed), np.uint32(name_number(name)))
