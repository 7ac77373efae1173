"""Names as numbers that seeds are folded with."""

import zlib


def name_number(name: str) -> int:
  """A name as a 32-bit number; the same in every process, unlike `hash`."""
  return zlib.crc32(name.encode())
