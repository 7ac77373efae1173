"""From an encoded image to uint8 pixels of a fixed shape, with Pillow, on the host."""

import io
import math

import numpy as np
from jaxtyping import UInt8
from PIL import Image

Shape = tuple[int, ...]  # height, width, channels
Box = tuple[float | int, ...]  # left, upper, right, lower, in pixels

MODES = {1: "L", 3: "RGB"}
# The share of the short side that an evaluation sees: 224 of 256, as torchvision's references.
CENTRE_SHARE = 224 / 256


class UndecodableImageError(ValueError):
  """Bytes that are no complete image."""


def decode(encoded: bytes, channels: int) -> Image.Image:
  """The whole image, as grey (1 channel) or RGB (3) whatever its mode was, CMYK included.

  Raises:
    UndecodableImageError: bytes that are no image, or end before the image does.
  """
  try:
    image = Image.open(io.BytesIO(encoded))
    image.load()
    return image if image.mode == MODES[channels] else image.convert(MODES[channels])
  # Pillow raises what its decoders happen to: broken PNG chunks are a SyntaxError.
  except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
    raise UndecodableImageError(str(error)) from error


def whole(encoded: bytes, shape: Shape) -> UInt8[np.ndarray, "h w c"]:
  """The image as it is.

  Raises:
    UndecodableImageError: also for an image of another size.
  """
  image = decode(encoded, shape[2])
  if image.size != (shape[1], shape[0]):
    raise UndecodableImageError(f"it is {image.height}x{image.width}, not {shape[0]}x{shape[1]}")
  return _pixels(image)


def centre(encoded: bytes, shape: Shape) -> UInt8[np.ndarray, "h w c"]:
  """The central crop that an evaluation sees, resized bilinearly with antialiasing.

  Raises:
    UndecodableImageError: see `decode`.
  """
  image = decode(encoded, shape[2])
  return _resized(image, centre_box(image.width, image.height, shape), shape)


def random_crop(
  encoded: bytes, shape: Shape, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w c"]:
  """A random crop of the image, resized bilinearly with antialiasing.

  Raises:
    UndecodableImageError: see `decode`.
  """
  image = decode(encoded, shape[2])
  return _resized(image, random_box(image.width, image.height, rng), shape)


def centre_box(width: int, height: int, shape: Shape) -> Box:
  """The largest central box of the shape's aspect ratio, times `CENTRE_SHARE`."""
  scale = CENTRE_SHARE * min(width / shape[1], height / shape[0])
  box_width, box_height = shape[1] * scale, shape[0] * scale
  left, upper = (width - box_width) / 2, (height - box_height) / 2
  return (left, upper, left + box_width, upper + box_height)


def random_box(width: int, height: int, rng: np.random.Generator) -> Box:
  """A random box of whole pixels inside the image.

  As torchvision's RandomResizedCrop (and `augment.crop_box`, which does the same on the device):
  area uniform in 8% to 100%, aspect ratio log-uniform in 3/4 to 4/3, the first of ten draws that
  fits, and the whole image if none does.
  """
  for _ in range(10):
    area = width * height * rng.uniform(0.08, 1.0)
    ratio = math.exp(rng.uniform(-math.log(4 / 3), math.log(4 / 3)))
    box_width, box_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
    if 1 <= box_width <= width and 1 <= box_height <= height:
      left = int(rng.integers(width - box_width + 1))
      upper = int(rng.integers(height - box_height + 1))
      return (left, upper, left + box_width, upper + box_height)
  return (0, 0, width, height)


def _resized(image: Image.Image, box: Box, shape: Shape) -> UInt8[np.ndarray, "h w c"]:
  return _pixels(image.resize((shape[1], shape[0]), Image.Resampling.BILINEAR, box=box))


def _pixels(image: Image.Image) -> UInt8[np.ndarray, "h w c"]:
  pixels = np.asarray(image)
  return pixels[..., None] if pixels.ndim == 2 else pixels
