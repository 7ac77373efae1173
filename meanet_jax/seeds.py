"""The largest seed, and names as numbers that seeds are folded with."""

import zlib

LARGEST_SEED = 2**32 - 1  # of larger ones JAX's keys lose the upper bits


def name_number(name: str) -> int:
  """A name as a 32-bit number; the same in every process, unlike `hash`."""
  return zlib.crc32(name.encode())
