"""From an image's pixels to the pixels that a network takes: defined here and nowhere else.

Training's evaluation, `meanet eval`, an export's check and the device call this code. `edge.json`
records its parameters. NumPy and Pillow alone.
"""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np

from meanet_jax.annotations import UInt8
from meanet_jax.config.ranges import Range
from meanet_jax.images.decoding import pillow

Shape = tuple[int, ...]  # height, width, channels
Box = tuple[float | int, ...]  # left, upper, right, lower, in pixels


@dataclasses.dataclass(frozen=True)
class Preprocessing:
  """What becomes of an image file that is evaluated.

  crop: `whole` resizes the whole image, whatever its aspect ratio, and leaves one of the network's
    size as it is. `centre` takes the largest central box of the network's aspect ratio, its sides
    times `share`.
  share: of the sides of that box, above 0 to 1; 1 for `whole`.
  orientation: `exif` turns the image upright first, as its EXIF says.
  filter: of the resizing: `bilinear` is Pillow's, which averages when it shrinks.
  """

  crop: Literal["whole", "centre"] = "whole"
  share: Annotated[float, Range(1e-6, 1)] = 1.0
  orientation: Literal["exif"] = "exif"
  filter: Literal["bilinear"] = "bilinear"

  def box(self, height: int, width: int, shape: Shape) -> Box:
    """The part of an upright image that the network sees."""
    if self.crop == "whole":
      return (0, 0, width, height)
    scale = self.share * min(width / shape[1], height / shape[0])
    box_width, box_height = shape[1] * scale, shape[0] * scale
    left, upper = (width - box_width) / 2, (height - box_height) / 2
    return (left, upper, left + box_width, upper + box_height)

  def __call__(
    self, pixels: UInt8[np.ndarray, "h w c"], shape: Shape
  ) -> UInt8[np.ndarray, "i j c"]:
    """The pixels of an upright image as the network takes them.

    Args:
      pixels: of the whole image, upright.
      shape: height, width and channels of the result; as many channels as `pixels` has.

    Raises:
      UserError: Pillow is not installed.
    """
    height, width, channels = pixels.shape
    box = self.box(height, width, shape)
    if box == (0, 0, shape[1], shape[0]):
      return pixels
    image = pillow().fromarray(pixels[..., 0] if channels == 1 else pixels)
    filter = pillow().Resampling.BILINEAR
    resized = image.resize((shape[1], shape[0]), filter, box=box)
    return np.asarray(resized, np.uint8).reshape(shape)


WHOLE = Preprocessing()
# 224 of 256 pixels of the short side, as torchvision's references evaluate.
CENTRE = Preprocessing("centre", 224 / 256)


def of_sizes(sizes: Sequence[int | None]) -> Preprocessing:
  """How a set is evaluated whose images have this height and width, None where they differ."""
  return CENTRE if None in sizes else WHOLE
