"""From an image file to uint8 pixels: one rule for every format and mode that Pillow knows.

Training, evaluation and the device decode by this rule, which needs NumPy and Pillow alone:

- 1, L, P, LA, PA, RGB, RGBX, RGBA, CMYK, YCbCr, HSV and LAB are converted by Pillow: grey is ITU-R
  601-2 luma. A network of 1 or 3 channels does not see an alpha channel; one of 2 or 4 does.
- 16 bits per channel (I;16 in any byte order, and the mode I of PNG and PGM): the upper 8 are kept,
  which is what Pillow does with 16-bit colour. `Decoded.deep` says so, and of 10 and 12 bits too.
- F and any other I are refused: without a known range there is no right way to 8 bits. So is what
  Pillow reads wrongly: deep colour in JPEG 2000, where it rounds the largest values up to 256 and
  keeps 0 of it, and 16-bit FITS, whose signed values it takes for unsigned ones.
- The image is turned upright as its EXIF says. Of several frames the first counts.
"""

import io
import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from meanet_jax.annotations import UInt8
from meanet_jax.errors import UserError

try:
  from PIL import Image, UnidentifiedImageError
except ModuleNotFoundError as error:  # a device that is handed pixels needs no image decoder
  if error.name != "PIL":
    raise
  Image = None  # type: ignore[assignment]
  UnidentifiedImageError = ()  # what nothing is an instance of

# Pillow's modes by number of channels: grey and RGB, without and with alpha.
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}

_ORIENTATION = 0x0112  # EXIF's tag
_TURNS = {  # from an EXIF orientation to the pixels as they are to be seen
  2: lambda pixels: pixels[:, ::-1],
  3: lambda pixels: pixels[::-1, ::-1],
  4: lambda pixels: pixels[::-1],
  5: lambda pixels: pixels.swapaxes(0, 1),
  6: lambda pixels: np.rot90(pixels, -1),
  7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
  8: lambda pixels: np.rot90(pixels),
}
# Formats whose mode I holds 0 .. 65535.
_SIXTEEN_BIT_FORMATS = ("PNG", "PPM")
# Pillow's names of raw modes of more than 8 bits; `BGR;16` has 16 for all three channels.
_DEEP_RAW = re.compile("I;16|;16[BLN]")
_HEADER_BYTES = 1 << 16  # of a file, in which its formats' marks lie
_VIA = {"LAB": "RGB", "La": "LA"}  # Pillow converts these to that mode only
_WHITE_IS_ZERO = {262: 0}  # TIFF's photometric interpretation, which Pillow ignores in I;16


class UndecodableImageError(ValueError):
  """A file that is no complete image, or one of a kind that cannot become uint8 pixels."""


class Decoded(NamedTuple):
  """pixels: uint8 [h, w, c]. deep: whether the file had more than 8 bits per channel."""

  pixels: UInt8[np.ndarray, "h w c"]
  deep: bool = False


def pillow() -> Any:
  """Pillow's module `Image`.

  Raises:
    UserError: Pillow is not installed.
  """
  if Image is None:
    raise UserError(
      "Pillow is not installed, and image files need it; accepted: pip install pillow"
    )
  return Image


def ignore_pillow_warnings() -> None:
  """Silences what Pillow says about large images and damaged metadata that it goes on to read."""
  warnings.filterwarnings("ignore", module=r"PIL\.")


def decode(source: bytes | str | Path, channels: int) -> Decoded:
  """The whole image, upright.

  Args:
    source: the file's contents, or its path.
    channels: of the result, a key of `MODES`.

  Raises:
    UserError: Pillow is not installed.
    UndecodableImageError: not an image, an incomplete one, or one without a known range.
  """
  try:
    # No path for Pillow: it maps such a file into memory, and turns a mapped TIFF twice.
    file = io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb")  # noqa: SIM115
    with file, pillow().open(file) as image:
      raw, deep = _raw_modes(image), _is_deep(image)  # are gone once the image is loaded
      image.load()
      turn = orientation(image)  # after loading, because Pillow turns a TIFF while it loads it
      pixels = _converted(_to_eight_bits(image, raw, deep), MODES[channels])
  except (UserError, UndecodableImageError):
    raise
  except UnidentifiedImageError as error:
    raise UndecodableImageError("no image format that the installed Pillow knows") from error
  except Exception as error:  # decoders of damaged files raise whatever their code runs into
    raise UndecodableImageError(
      " ".join(str(error).split()) or f"{type(error).__name__} in Pillow"
    ) from error
  return Decoded(turned(pixels.reshape(*pixels.shape[:2], channels), turn), deep)


def orientation(image: Any) -> int:
  """The EXIF orientation of an open Pillow image; 1, upright, for damaged metadata."""
  try:
    return int(image.getexif().get(_ORIENTATION, 1))
  except Exception:  # as in `decode`; pixels can be whole where metadata are not
    return 1


def turned(pixels: UInt8[np.ndarray, "h w c"], number: int) -> UInt8[np.ndarray, "i j c"]:
  """The pixels upright, given their EXIF orientation; a number that EXIF does not know is 1."""
  return np.ascontiguousarray(_TURNS[number](pixels)) if number in _TURNS else pixels


def _raw_modes(image: Any) -> str:
  """How the file stores its pixels, as Pillow's decoders name it: `RGB;16B`, `I;12`, ..."""
  return " ".join(str(tile[3]) for tile in getattr(image, "tile", ()) or ())


def _is_deep(image: Any) -> bool:
  """Whether an image that is not yet loaded has more than 8 bits per channel.

  Formats whose decoders do not say it are asked in their headers: JPEG 2000 has its precision in
  the marker SIZ (ISO/IEC 15444-1, A.5.1), AVIF a flag in its box av1C (AV1-ISOBMFF, 2.3.3), SGI
  its bytes per channel in its fourth byte.
  """
  if image.mode.startswith("I;16") or _DEEP_RAW.search(_raw_modes(image)):
    return True
  if image.format == "SGI":
    return _header_byte(image, b"", 3) == 2
  if image.format == "PPM":  # its decoder is given the largest value
    limits = [part for tile in image.tile if isinstance(tile[3], tuple) for part in tile[3]]
    return any(isinstance(limit, int) and limit > 255 for limit in limits)
  if image.format == "JPEG2000":
    return (_header_byte(image, b"\xff\x4f\xff\x51", 38) & 0x7F) + 1 > 8
  return image.format == "AVIF" and bool(_header_byte(image, b"av1C", 2) & 0x40)


def _header_byte(image: Any, after: bytes, number: int) -> int:
  """The byte that is so many after a mark in the first bytes of an open image's file, or 0."""
  file = image.fp
  place = file.tell()
  file.seek(0)
  head = file.read(_HEADER_BYTES)
  file.seek(place)
  found = head.find(after)
  wanted = found + len(after) + number
  return head[wanted] if found >= 0 and wanted < len(head) else 0


def _to_eight_bits(image: Any, raw: str, deep: bool) -> Any:
  """The image with 8 bits per channel."""
  mode = image.mode
  if mode == "I;16" and image.format == "FITS":
    raise UndecodableImageError(
      "it is FITS of 16 bits, whose signed values Pillow takes for unsigned ones; make it a PNG"
    )
  if mode.startswith("I;16") or (mode == "I" and image.format in _SIXTEEN_BIT_FORMATS):
    values = np.asarray(image) >> (4 if "I;12" in raw else 8)
    if image.format == "TIFF" and _WHITE_IS_ZERO.items() <= dict(image.tag_v2).items():
      values = 255 - values
    return pillow().fromarray(values.astype(np.uint8))
  if mode in ("I", "F"):
    raise UndecodableImageError(
      f"its mode {mode} has 32 bits per pixel and no known range; convert it to 8 or 16 bits"
    )
  if deep and image.format == "JPEG2000":
    raise UndecodableImageError(
      "it is JPEG 2000 colour of more than 8 bits, whose white Pillow turns black; make it a PNG"
    )
  return image


def _converted(image: Any, mode: str) -> np.ndarray:
  if "A" not in mode:
    # Pillow would warn that transparency is dropped, which is the rule here.
    image.info.pop("transparency", None)
  if image.mode in _VIA:
    image = image.convert(_VIA[image.mode])
  return np.asarray(image.convert(mode), np.uint8)
