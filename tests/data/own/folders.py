"""Folders of small real image files."""

from pathlib import Path

import numpy as np
from PIL import Image

from meanet_jax.config.schema import DatasetConfig
from tests.data.sets import picture
from tests.images.files import deep_png, saved

STREAMED, IN_MEMORY = 0, 1000


def own_config(path: Path, **changes) -> DatasetConfig:
  """Two classes of RGB images, 16x24 for the network."""
  fields = {"name": "folder", "path": str(path), "image_shape": (16, 24, 3), "num_classes": 2}
  fields |= {"validation_fraction": 0.25, "test_fraction": 0.25}
  return DatasetConfig(**(fields | changes))


def write(path: Path, data: bytes) -> Path:
  """A file, its folders made."""
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(data)
  return path


def write_folder(root: Path, count: int = 12, classes: tuple[str, ...] = ("cat", "dog")) -> Path:
  """`count` different PNGs of several sizes in each class."""
  for c, name in enumerate(classes):
    for number in range(count):
      size = (20 + number % 3, 30 + number % 2)
      write(root / name / f"{number:02d}.png", saved(picture(100 * c + number, size), "PNG"))
  return root


def kinds_of_files() -> dict[str, bytes]:
  """By file name: formats, modes, depths and orientations that people have."""
  made = {}
  for number, size in enumerate([(96, 48), (48, 96), (30, 40), (15, 11)]):
    pixels = picture(number, size)
    image = Image.fromarray(pixels)
    made[f"{number}.jpg"] = saved(image, "JPEG", 6)
    made[f"{number}.JPEG"] = saved(image.convert("L"), "JPEG")
    made[f"{number} cmyk.jpg"] = saved(image.convert("CMYK"), "JPEG", 3)
    made[f"{number}.webp"] = saved(image.convert("RGBA"), "WEBP", 8)
    made[f"{number}.png"] = saved(image.convert("P"), "PNG")
    made[f"{number} deep.png"] = deep_png(pixels.astype(np.uint16) * 256 + 77)
    made[f"{number} deep grey.png"] = saved(pixels[..., 0].astype(np.uint16) * 256 + 200, "PNG", 7)
    made[f"{number}.tif"] = saved(image.convert("CMYK"), "TIFF", 5)
  return made
