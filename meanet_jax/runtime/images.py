"""From an image file to the pixels that an exported edge takes."""

from pathlib import Path
from typing import Any

import numpy as np

from meanet_jax.annotations import UInt8
from meanet_jax.errors import UserError

try:
  from PIL import Image, ImageOps
except ModuleNotFoundError as error:  # a device that is handed pixels needs no image decoder
  if error.name != "PIL":
    raise
  Image = ImageOps = None  # type: ignore[assignment]

_MODES = {1: "L", 3: "RGB"}
# More than 8 bits per channel, which Pillow would not scale but clip at 255.
_DEEP = ("I", "F")


def read_image(path: str | Path, shape: tuple[int, int, int]) -> UInt8[np.ndarray, "h w c"]:
  """An image file as uint8 [h, w, c].

  It is turned upright as its EXIF says, converted to grey (ITU-R 601-2 luma) or to RGB (an alpha
  channel is dropped), and resized to the network's height and width with Pillow's bilinear filter,
  which averages when it shrinks. The aspect ratio is not kept: crop beforehand what matters.

  Args:
    path: of the file.
    shape: height, width, channels (1 or 3).

  Raises:
    UserError: a file that is missing or no image, more than 8 bits per channel, another number of
      channels, or no Pillow.
  """
  height, width, channels = shape
  if channels not in _MODES:
    raise UserError(f"the network takes {channels} channels; accepted from image files: 1 or 3")
  pillow()
  if Path(path).exists() and not Path(path).is_file():
    raise UserError(f"image {path} cannot be read: it is no regular file; accepted: an image file")
  try:
    with Image.open(path) as file:
      if file.mode.startswith(_DEEP):
        raise UserError(
          f"image {path} has mode {file.mode}, more than 8 bits per channel; "
          f"accepted: 8 bits, for {height}x{width} {_MODES[channels]}"
        )
      image = ImageOps.exif_transpose(file).convert(_MODES[channels])
  except UserError:
    raise
  except Exception as error:  # decoders of damaged files raise whatever they stumble over
    raise UserError(f"image {path} cannot be read: {error}; accepted: an image file") from error
  if image.size != (width, height):
    image = image.resize((width, height), Image.Resampling.BILINEAR)
  return np.asarray(image, np.uint8).reshape(shape)


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
