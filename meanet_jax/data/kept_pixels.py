"""Decoded pixels, kept beside the set that they are of, so that a set is decoded once.

A file of them holds for the image files that it was made of, the preprocessing, and the versions of
what decodes. It is read as a memory map; one that is damaged, or of other files, is replaced.
"""

import dataclasses
import hashlib
import importlib.metadata
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from meanet_jax.config.schema import DatasetConfig
from meanet_jax.data.decode import PixelReader
from meanet_jax.data.examples import Reading
from meanet_jax.data.kept_arrays import load_arrays, save_arrays
from meanet_jax.data.splits import ArraySplit
from meanet_jax.log import logger

_RULES = 2  # by which pixels are made of images, beside the versions below
_DECODERS = ("pillow", "simplejpeg")
_MEMBERS = {"belongs_to", "labels", "skipped", "deep"}
_CHECKED_AT_ONCE = 1 << 24  # bytes


@dataclasses.dataclass(frozen=True)
class KeptPixels:
  """The file of one set's pixels.

  path: of the file. of_files: what is other once an image file has changed.
  """

  path: Path
  of_files: Callable[[], str]

  def read(
    self, read: Callable[[], Reading], config: DatasetConfig, reader: PixelReader
  ) -> Reading:
    """The kept pixels where they hold, otherwise what `read` gives, which is then kept.

    Args:
      read: decodes the images, into memory.
      config: what becomes of undecodable images.
      reader: makes pixels of images.

    Raises:
      UserError: as `read`.
    """
    kept = self.load(config, reader)
    if kept is not None:
      return kept
    belongs_to = self._belongs_to(config, reader)
    reading = read()
    # Of files that change while they are read nobody knows which were decoded.
    if self._belongs_to(config, reader) == belongs_to and _save(self.path, belongs_to, reading):
      logger.info(f"decoded pixels are kept in {self.path}")
    return reading

  def load(self, config: DatasetConfig, reader: PixelReader) -> Reading | None:
    """The kept pixels, or None where there are none that hold."""
    return _load(self.path, self._belongs_to(config, reader))

  def _belongs_to(self, config: DatasetConfig, reader: PixelReader) -> str:
    text = json.dumps(
      {
        "rules": _RULES,
        "versions": [importlib.metadata.version(name) for name in _DECODERS],
        "files": self.of_files(),
        "shape": reader.shape,
        "sizes": list(reader.sizes),
        "preprocessing": dataclasses.asdict(reader.preprocessing),
        "undecodable": config.undecodable,
      }
    )
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _load(path: Path, belongs_to: str) -> Reading | None:
  kept = load_arrays(path, _MEMBERS)
  if kept is None or set(kept) != _MEMBERS or str(kept["belongs_to"]) != belongs_to:
    return None
  images = _mapped(path)
  if images is None or len(images) != len(kept["labels"]):
    return None
  return Reading(ArraySplit(images, kept["labels"]), int(kept["skipped"]), int(kept["deep"]))


def _save(path: Path, belongs_to: str, reading: Reading) -> bool:
  split = reading.split
  arrays = {"belongs_to": belongs_to, "skipped": reading.skipped, "deep": reading.deep}
  images = {"labels": split.labels, "images": split.resident_images}
  return save_arrays(path, arrays | images, "decoded pixels")


def _mapped(path: Path) -> UInt8[np.ndarray, "n h w c"] | None:
  """The array `images` of an .npz file as a memory map; None where its checksum is another.

  `np.savez` stores its members as they are, so that one can be mapped where it lies.
  """
  try:
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
      member = archive.getinfo("images.npy")
      file.seek(member.header_offset)
      name, extra = struct.unpack("<26x2H", file.read(30))  # lengths of what follows the header
      begin = member.header_offset + 30 + name + extra
      if member.compress_type != zipfile.ZIP_STORED or not _intact(path, begin, member):
        return None
      file.seek(begin)
      if np.lib.format.read_magic(file) != (1, 0):
        return None
      shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
      if fortran or dtype != np.uint8 or len(shape) != 4:
        return None
      return np.asarray(np.memmap(file, dtype, "r", file.tell(), shape))
  except (OSError, ValueError, KeyError, struct.error, zipfile.BadZipFile):
    return None


def _intact(path: Path, begin: int, member: zipfile.ZipInfo) -> bool:
  stored = np.memmap(path, np.uint8, "r", begin, (member.file_size,))
  checksum = 0
  for start in range(0, len(stored), _CHECKED_AT_ONCE):
    checksum = zlib.crc32(stored[start : start + _CHECKED_AT_ONCE], checksum)
  return checksum == member.CRC
