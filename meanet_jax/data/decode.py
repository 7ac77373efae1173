"""From an encoded image to uint8 pixels of a fixed shape, on the host.

What the pixels are, `meanet_jax/images` says; this module is its quick way on a training machine.
JPEGs are decoded by libjpeg-turbo (simplejpeg), which gives Pillow's pixels in less time; what is
no plain JPEG is left to Pillow. cykooz-resizer resizes training's random crops with Pillow's
bilinear filter in a quarter of its time; a grey level may differ by 1, and once in millions by 2.
What is evaluated is resized by Pillow, as on the device.
"""

import dataclasses
import io
import math
from collections.abc import Sequence

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

from meanet_jax.images import decoding
from meanet_jax.images.decoding import Decoded, UndecodableImageError
from meanet_jax.images.preprocessing import Preprocessing, Shape

Box = tuple[float | int, ...]  # left, upper, right, lower, in pixels

PIXELS = {1: PixelType.U8, 2: PixelType.U8x2, 3: PixelType.U8x3, 4: PixelType.U8x4}


@dataclasses.dataclass(frozen=True)
class PixelReader:
  """How the encoded images of one set become pixels.

  shape: height, width and channels that the network takes. sizes: the height and width that the set
  declares, None where images differ. preprocessing: of what is evaluated.
  """

  shape: Shape
  sizes: Sequence[int | None]
  preprocessing: Preprocessing

  def upright(self, encoded: bytes) -> Decoded:
    """The whole image, upright.

    Raises:
      UndecodableImageError: see `decode`; also for an image of another size than the set declares.
    """
    decoded = read(encoded, self.shape[2])
    found = decoded.pixels.shape[:2]
    if any(asked not in (None, side) for side, asked in zip(found, self.sizes, strict=True)):
      asked = "x".join("any" if side is None else str(side) for side in self.sizes)
      raise UndecodableImageError(
        f"upright it is {found[0]}x{found[1]}, and the set declares {asked}"
      )
    return decoded

  def evaluated(self, encoded: bytes) -> Decoded:
    """The pixels that an evaluation sees, and a device.

    Raises:
      UndecodableImageError: see `upright`.
    """
    decoded = self.upright(encoded)
    return decoded._replace(pixels=self.preprocessing(decoded.pixels, self.shape))

  def cropped(self, encoded: bytes, rng: np.random.Generator) -> UInt8[np.ndarray, "h w c"]:
    """A random crop for training; see `random_crop`."""
    return random_crop(encoded, self.shape, rng)


def decode(encoded: bytes, channels: int) -> UInt8[np.ndarray, "h w c"]:
  """The whole image upright: grey or RGB (1 or 3 channels), or those with alpha (2 or 4).

  Raises:
    UndecodableImageError: bytes that are no image, end before the image does, or are of a kind that
      `images/decoding.py` refuses.
  """
  return read(encoded, channels).pixels


def read(encoded: bytes, channels: int) -> Decoded:
  """As `decode`, with what is to be said of the file."""
  pixels = _plain_jpeg(encoded) if channels == 3 else None
  return decoding.decode(encoded, channels) if pixels is None else Decoded(pixels)


def _plain_jpeg(encoded: bytes) -> UInt8[np.ndarray, "h w 3"] | None:
  """The RGB pixels of a grey or colour JPEG without a flaw; None for anything else."""
  try:
    if simplejpeg.decode_jpeg_header(encoded)[2] in ("CMYK", "YCCK"):
      return None
    with Image.open(io.BytesIO(encoded)) as header:  # its header only; nothing is decoded
      turn = decoding.orientation(header)
    return decoding.turned(simplejpeg.decode_jpeg(encoded), turn)
  except Exception:  # whatever it is, the slow way names it
    return None


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
