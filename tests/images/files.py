"""Image files of every kind that the tests decode."""

import base64
import io
import struct
import zlib

import numpy as np
from PIL import Image

# Values 0 .. 65535, evenly: their upper bytes are 0, 4, 8, ... 255.
RAMP = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)

# RAMP, RAMP upside down and RAMP on its side as red, green and blue, written by avifenc (10 bits,
# lossless) and opj_compress (16 bits): Pillow writes neither.
DEEP_AVIF = base64.b64decode(
  "AAAAIGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZk1BMUEAAADybWV0YQAAAAAAAAAoaGRscgAAAAAAAAAAcGljdAAA"
  "AAAAAAAAAAAAAGxpYmF2aWYAAAAADnBpdG0AAAAAAAEAAAAeaWxvYwAAAABEAAABAAEAAAABAAABGgAAAKUAAAAo"
  "aWluZgAAAAAAAQAAABppbmZlAgAAAAABAABhdjAxQ29sb3IAAAAAamlwcnAAAABLaXBjbwAAABRpc3BlAAAAAAAA"
  "AAgAAAAIAAAAEHBpeGkAAAAAAwoKCgAAAAxhdjFDgSBAAAAAABNjb2xybmNseAABAA0AAIAAAAAXaXBtYQAAAAAA"
  "AAABAAEEAQKDBAAAAK1tZGF0EgAKCDgIv2MBDQAgMpYBEAAAi/Sw/tn5If4BToRzUiqANbSvvQJm4kRJe4Y+9e86"
  "tcwCjM6tFZtql9dhevWjmE6RFOXH5Z0VGU3B//qVZs8exKDryWDIZmYvwoxTy5Z5iCeCvNAp7419PE2ZuF+1nfmv"
  "ClmsssBSpVA8nv/5rKWAzmIBgoD7+Im/CKgCsSMu1YjAEjAiFmW4IL2LE/80zQudX4dw"
)
DEEP_JPEG2000 = base64.b64decode(
  "/0//UQAvAAAAAAAIAAAACAAAAAAAAAAAAAAACAAAAAgAAAAAAAAAAAADDwEBDwEBDwEB/1IADAAAAAEBAQQEAAH/"
  "XAAHQICIiJD/ZAAlAAFDcmVhdGVkIGJ5IE9wZW5KUEVHIHZlcnNpb24gMi41LjD/kAAKAAAAAADmAAH/k8f+DEAG"
  "RmhQarDc3iEuCM0PVSRh0qYG0kRrrXQFFmO7KfKqZ9/4kRAQ4NI4NLumMguiqtu5sXTl0xEZcxmbFxW593TtrDUI"
  "7S5/3/iRCBGDyweWa4qAzluLSJ9r3bWp0jG2r9ldCm901qfcCI3tf8D/ANgP5C4AAEgiGdMZ9BIAgINFMJEHAM5Z"
  "jGFYmIQLP6sJRU1/wf9AA2H/QYMgAASAIhh3xb3UnfcV26lXRwN/3VIzvOw0EEnZPBQoipjAABLH/hgVAAAhD5Px"
  "pgcDf+sGh8Eq+Lh/A//Z"
)


def saved(image: Image.Image | np.ndarray, form: str, orientation: int = 1, **options) -> bytes:
  """The file's bytes, with an EXIF orientation where it is not 1."""
  if orientation != 1:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options["exif"] = exif
  if form == "WEBP":
    options["lossless"] = True
  buffer = io.BytesIO()
  (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, form, **options)
  return buffer.getvalue()


def deep_png(values: np.ndarray) -> bytes:
  """A PNG of 16 bits per channel from uint16 [h, w, c]; Pillow writes grey ones only."""
  height, width, channels = values.shape
  kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
  rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

  def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

  header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
  parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
  return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff_of_12_bits(values: np.ndarray) -> bytes:
  """An uncompressed TIFF of 12 bits per pixel from [h, w] below 4096, w even."""
  height, width = values.shape
  pairs = values.reshape(-1, 2).astype(np.uint32)
  packed = (pairs[:, 0] << 12 | pairs[:, 1]).astype(">u4")
  strip = packed.view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()
  entries = {256: width, 257: height, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: height}
  entries[279] = len(strip)
  directory = struct.pack("<H", len(entries))
  for tag, value in sorted(entries.items()):
    directory += struct.pack("<HHII", tag, 4, 1, value)
  start = 8 + len(strip)
  return b"II*\0" + struct.pack("<I", start) + strip + directory + struct.pack("<I", 0)


def bmp_of_565(values: np.ndarray) -> bytes:
  """A BMP of 5, 6 and 5 bits for red, green and blue from uint16 [h, w], w even."""
  height, width = values.shape
  data = values[::-1].astype("<u2").tobytes()
  masks = struct.pack("<3I", 0xF800, 0x7E0, 0x1F)
  start = 14 + 40 + len(masks)
  file = struct.pack("<2sIHHI", b"BM", start + len(data), 0, 0, start)
  image = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 16, 3, len(data), 0, 0, 0, 0)
  return file + image + masks + data


def sgi_of_16_bits(values: np.ndarray) -> bytes:
  """An uncompressed SGI image from uint16 [h, w]."""
  height, width = values.shape
  header = struct.pack(">HBBHHHHII", 474, 0, 2, 2, width, height, 1, 0, 65535)
  return header.ljust(512, b"\0") + values[::-1].astype(">u2").tobytes()


def fits_of_16_bits(values: np.ndarray) -> bytes:
  """A FITS image from uint16 [h, w]: signed, with the usual offset."""
  fields = {"BITPIX": 16, "NAXIS": 2, "NAXIS1": values.shape[1], "NAXIS2": values.shape[0]}
  cards = ["SIMPLE  =                    T"]
  cards += [f"{name:8}= {value:20}" for name, value in (fields | {"BZERO": 32768}).items()]
  header = "".join(card.ljust(80) for card in [*cards, "END"]).ljust(2880).encode()
  signed = (values[::-1].astype(np.int32) - 32768).astype(">i2")
  return header + signed.tobytes().ljust(2880, b"\0")
