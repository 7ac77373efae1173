"""Times finding 100,000 image files again, beside `os.scandir` and `stat`; writes own_images.md.

Command: python -m benchmarks.own_images. It makes the files in a directory of its own.
"""

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.measured_on import measured_on, seconds
from meanet_jax.commands.app import run_script
from meanet_jax.commands.flags import Parser, add_integer
from meanet_jax.config.ranges import Range
from meanet_jax.config.schema import DatasetConfig
from meanet_jax.data.own.find import find_files
from meanet_jax.files import write_text
from tests.images.files import saved

CLASSES, FILES = 100, 1000  # in each class


def add_flags(parser: Parser) -> None:
  """The benchmark's flags."""
  add_integer(parser, "--repeats", Range(1), default=5, help="measurements of each kind")


def run(given: argparse.Namespace) -> None:
  """Makes the files, measures and writes the page."""
  with tempfile.TemporaryDirectory() as folder:
    root = Path(folder, "images")
    _make(root)
    first = seconds(lambda: find_files(root, DatasetConfig()))
    times = [
      (seconds(lambda: _scan(root)), seconds(lambda: find_files(root, DatasetConfig())))
      for _ in range(given.repeats)
    ]
  scan, index = (
    tuple(statistics.median(pair[kind][clock] for pair in times) for clock in range(2))
    for kind in range(2)
  )
  ratios = [statistics.median(p[0][clock] / p[1][clock] for p in times) for clock in range(2)]
  lines = [
    "# Own images",
    "",
    f"{CLASSES * FILES:,} PNGs of 8x8 pixels in {CLASSES} class folders. Medians of "
    f"{given.repeats} pairs, one after the other. Made by `python -m benchmarks.own_images`.",
    "",
    "| what | s | s of processor time |",
    "|---|---|---|",
    f"| `os.scandir` and `os.stat` of every file | {scan[0]:.3f} | {scan[1]:.3f} |",
    f"| the index: files found, compared with what is kept | {index[0]:.3f} | {index[1]:.3f} |",
    f"| the first index: every file decoded and hashed | {first[0]:.1f} | {first[1]:.1f} |",
    "",
    f"The index reaches {ratios[0]:.2f} of the speed of `os.scandir` and `os.stat` on the clock "
    f"and {ratios[1]:.2f} in processor time (target: 0.8).",
    "",
    *measured_on(),
  ]
  text = "\n".join(lines)
  write_text(Path(__file__).with_suffix(".md"), text)
  print(text)


def _make(root: Path) -> None:
  rng = np.random.default_rng(0)
  for c in range(CLASSES):
    (root / f"class_{c:03d}").mkdir(parents=True)
    for number in range(FILES):
      pixels = rng.integers(256, size=(8, 8, 3), dtype=np.uint8)
      data = saved(Image.fromarray(pixels), "PNG")
      (root / f"class_{c:03d}" / f"image_{number:05d}.png").write_bytes(data)


def _scan(root: Path) -> None:
  with os.scandir(root) as folders:
    for folder in folders:
      if folder.is_dir():
        with os.scandir(folder) as entries:
          for entry in entries:
            os.stat(entry.path)


if __name__ == "__main__":
  sys.exit(run_script(__doc__, add_flags, run))
