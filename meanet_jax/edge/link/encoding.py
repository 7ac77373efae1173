"""From the network's pixels to the bytes that are sent."""

import io
from typing import Literal, NamedTuple

import numpy as np

from meanet_jax.annotations import UInt8
from meanet_jax.errors import UserError
from meanet_jax.images.decoding import pillow

JPEG_QUALITY = 90
_ACCEPTED = "accepted: raw, png, jpeg or jpeg:QUALITY with a quality from 1 to 100"


class Encoding(NamedTuple):
  """How an image travels. quality: Pillow's, 1 to 100, of `jpeg` alone."""

  kind: Literal["raw", "png", "jpeg"] = "raw"
  quality: int = JPEG_QUALITY

  def __str__(self) -> str:
    return f"jpeg:{self.quality}" if self.kind == "jpeg" else self.kind


def parse_encoding(text: str) -> Encoding:
  """The encoding that `raw`, `png`, `jpeg` or `jpeg:QUALITY` names.

  Raises:
    UserError: any other text.
  """
  kind, colon, quality = text.partition(":")
  if kind in ("raw", "png", "jpeg") and not colon:
    return Encoding(kind)
  if kind == "jpeg" and quality.isascii() and quality.isdigit() and 1 <= int(quality) <= 100:
    return Encoding("jpeg", int(quality))
  raise UserError(f"--encoding is {text!r}; {_ACCEPTED}")


def check_channels(encoding: Encoding, channels: int) -> None:
  """Refuses an encoding that cannot hold images of so many channels.

  Raises:
    UserError: JPEG for images with an alpha channel; a file for more than four channels.
  """
  accepted = {"raw": channels, "png": range(1, 5), "jpeg": (1, 3)}[encoding.kind]
  if encoding.kind != "raw" and channels not in accepted:
    raise UserError(
      f"--encoding is {str(encoding)!r}, and the network's images have {channels} channels; "
      f"accepted: raw{', png' if channels in range(1, 5) else ''}"
    )


def encode(encoding: Encoding, image: UInt8[np.ndarray, "h w c"]) -> bytes:
  """The image's bytes: its pixels row by row, or a file of Pillow's default settings.

  Raises:
    UserError: a file is wanted and there is no Pillow.
  """
  if encoding.kind == "raw":
    return image.tobytes()
  file = io.BytesIO()
  encoded = pillow().fromarray(image[..., 0] if image.shape[-1] == 1 else image)
  if encoding.kind == "png":
    encoded.save(file, "PNG")
  else:
    encoded.save(file, "JPEG", quality=encoding.quality)
  return file.getvalue()
