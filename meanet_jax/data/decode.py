"""From an encoded image to uint8 pixels of a fixed shape, on the host.

JPEGs are decoded by libjpeg-turbo (simplejpeg), which gives Pillow's pixels in less time; what is
no plain JPEG is left to Pillow. cykooz-resizer resizes with Pillow's bilinear filter in a quarter
of its time; a grey level may differ by 1, and once in millions by 2.
"""

import io
import math

import numpy as np
import simplejpeg
from cykooz_resizer import (
  CropBox,
  FilterType,
  ImageData,
  PixelType,
  ResizeAlg,
  ResizeOptions,
  Resizer,
)
from jaxtyping import UInt8
from PIL import Image

Shape = tuple[int, ...]  # height, width, channels
Box = tuple[float | int, ...]  # left, upper, right, lower, in pixels

MODES = {1: "L", 3: "RGB"}
PIXELS = {1: PixelType.U8, 3: PixelType.U8x3}
# The share of the short side that an evaluation sees: 224 of 256, as torchvision's references.
CENTRE_SHARE = 224 / 256


class UndecodableImageError(ValueError):
  """Bytes that are no complete image."""


def decode(encoded: bytes, channels: int) -> UInt8[np.ndarray, "h w c"]:
  """The whole image, as grey (1 channel) or RGB (3) whatever its mode was, CMYK included.

  Raises:
    UndecodableImageError: bytes that are no image, or end before the image does.
  """
  pixels = _plain_jpeg(encoded) if channels == 3 else None
  return _by_pillow(encoded, channels) if pixels is None else pixels


def _plain_jpeg(encoded: bytes) -> UInt8[np.ndarray, "h w 3"] | None:
  """The RGB pixels of a grey or colour JPEG without a flaw; None for anything else."""
  try:
    if simplejpeg.decode_jpeg_header(encoded)[2] in ("CMYK", "YCCK"):
      return None
    return simplejpeg.decode_jpeg(encoded)
  except ValueError:
    return None


def _by_pillow(encoded: bytes, channels: int) -> UInt8[np.ndarray, "h w c"]:
  try:
    with Image.open(io.BytesIO(encoded)) as image:
      pixels = np.asarray(image.convert(MODES[channels]))
  # Pillow raises what its decoders happen to: broken PNG chunks are a SyntaxError.
  except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
    raise UndecodableImageError(str(error)) from error
  return pixels.reshape(*pixels.shape[:2], channels)


def whole(encoded: bytes, shape: Shape) -> UInt8[np.ndarray, "h w c"]:
  """The image as it is.

  Raises:
    UndecodableImageError: also for an image of another size.
  """
  image = decode(encoded, shape[2])
  height, width, _ = image.shape
  if (height, width) != (shape[0], shape[1]):
    raise UndecodableImageError(f"it is {height}x{width}, not {shape[0]}x{shape[1]}")
  return image


def centre(encoded: bytes, shape: Shape) -> UInt8[np.ndarray, "h w c"]:
  """The central crop that an evaluation sees, resized bilinearly with antialiasing.

  Raises:
    UndecodableImageError: see `decode`.
  """
  image = decode(encoded, shape[2])
  height, width, _ = image.shape
  return _resized(image, centre_box(width, height, shape), shape)


def random_crop(
  encoded: bytes, shape: Shape, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w c"]:
  """A random crop of the image, resized bilinearly with antialiasing, as torchvision does it.

  Raises:
    UndecodableImageError: see `decode`.
  """
  image = decode(encoded, shape[2])
  height, width, _ = image.shape
  left, upper, right, lower = random_box(width, height, rng)
  crop = image[upper:lower, left:right]
  return _resized(crop, (0, 0, right - left, lower - upper), shape)


def centre_box(width: int, height: int, shape: Shape) -> Box:
  """The largest central box of the shape's aspect ratio, times `CENTRE_SHARE`."""
  scale = CENTRE_SHARE * min(width / shape[1], height / shape[0])
  box_width, box_height = shape[1] * scale, shape[0] * scale
  left, upper = (width - box_width) / 2, (height - box_height) / 2
  return (left, upper, left + box_width, upper + box_height)


def random_box(width: int, height: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
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


def _resized(
  image: UInt8[np.ndarray, "h w c"], box: Box, shape: Shape
) -> UInt8[np.ndarray, "i j c"]:
  left, upper, right, lower = box
  kind = PIXELS[shape[2]]
  source = ImageData(image.shape[1], image.shape[0], kind, image.tobytes())
  target = ImageData(shape[1], shape[0], kind)
  options = ResizeOptions(
    ResizeAlg.convolution(FilterType.bilinear),
    crop_box=CropBox(left, upper, right - left, lower - upper),
  )
  Resizer().resize(source, target, options)
  return np.frombuffer(target.get_buffer(), np.uint8).reshape(shape)
