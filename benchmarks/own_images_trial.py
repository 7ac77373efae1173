"""Own images as people have them, from files to an export; writes own_images_trial.md.

Command: python -m benchmarks.own_images_trial [--config own_images:small] [--folder DIR]

It makes 4 classes of 300 files: shapes in colour, 40 to 300 pixels a side, JPEG, PNG, WebP and
TIFF; turned by EXIF, grey, with alpha, of 16 bits per channel, in CMYK, and truncated. Then it
trains, evaluates and exports with the commands that a user would give.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.measured_on import measured_on
from meanet_jax.commands.app import run_script
from meanet_jax.commands.flags import Parser, add_path
from meanet_jax.files import write_text
from tests.images.files import deep_png, saved

CLASSES = ("circle", "cross", "square", "triangle")
FILES = 300  # of each class
KINDS = ("jpg", "exif", "grey", "alpha", "deep", "cmyk", "webp", "tif")
TRUNCATED = 3  # of each class


def add_flags(parser: Parser) -> None:
  """The benchmark's flags."""
  parser.add_argument(
    "--config", default="own_images:small", help="configuration, with its argument"
  )
  add_path(parser, "--folder", help="where files and run go; a temporary one by default")


def run(given: argparse.Namespace) -> None:
  """Makes the files, runs the three commands and writes the page."""
  with tempfile.TemporaryDirectory() as temporary:
    folder = Path(given.folder or temporary).absolute()
    make(folder / "images")
    run = str(folder / "run")
    commands = {
      "train": [
        *("--config", given.config, "--data", str(folder / "images"), "--workdir", run),
        "--config.dataset.undecodable=skip",
      ],
      "eval": ["--workdir", run],
      "export": ["--workdir", run, "--out", str(folder / "run" / "export")],
    }
    seconds = {}
    for name, arguments in commands.items():
      clock, processor = time.perf_counter(), _processor()
      subprocess.run([sys.executable, "-m", "meanet_jax", name, *arguments], check=True)
      seconds[name] = (time.perf_counter() - clock, _processor() - processor)
    summary = json.loads((folder / "run" / "eval" / "summary.json").read_text())
  write_text(Path(__file__).with_suffix(".md"), _page(given.config, seconds, summary))


def make(root: Path) -> None:
  """The files, a folder for each class; the same ones every time."""
  for c, name in enumerate(CLASSES):
    (root / name).mkdir(parents=True, exist_ok=True)
    for number in range(FILES):
      rng = np.random.default_rng([c, number])
      kind = KINDS[number % len(KINDS)]
      image, data = _shape(name, rng), b""
      if kind == "exif":
        data = saved(image.transpose(Image.Transpose.ROTATE_90), "JPEG", 6)
      elif kind == "deep":
        data = deep_png(np.asarray(image).astype(np.uint16) * 257)
      elif kind in ("grey", "alpha"):
        data = saved(image.convert({"grey": "L", "alpha": "RGBA"}[kind]), "PNG")
      elif kind == "cmyk":
        data = saved(image.convert("CMYK"), "JPEG")
      else:
        data = saved(image, {"jpg": "JPEG", "webp": "WEBP", "tif": "TIFF"}[kind])
      ending = {"exif": "jpg", "deep": "png", "grey": "png", "alpha": "png", "cmyk": "jpg"}
      if number >= FILES - TRUNCATED:
        data = data[: len(data) // 2]
      path = root / name / f"{number:03d} {kind}.{ending.get(kind, kind)}"
      path.write_bytes(data)


def _shape(name: str, rng: np.random.Generator) -> Image.Image:
  """A bright shape of any colour, place and angle on a dark background."""
  width, height = (int(side) for side in rng.integers(40, 301, 2))
  small = rng.integers(80, size=(4, 4, 3), dtype=np.uint8)
  image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
  side = int(min(width, height) * rng.uniform(0.5, 0.9))
  patch = Image.new("L", (side, side))
  draw, last = ImageDraw.Draw(patch), side - 1
  if name == "circle":
    draw.ellipse((0, 0, last, last), fill=255)
  elif name == "square":
    draw.rectangle((side // 8, side // 8, last - side // 8, last - side // 8), fill=255)
  elif name == "triangle":
    draw.polygon(((side // 2, 0), (0, last), (last, last)), fill=255)
  else:
    third = side // 3
    draw.rectangle((third, 0, 2 * third, last), fill=255)
    draw.rectangle((0, third, last, 2 * third), fill=255)
  patch = patch.rotate(float(rng.uniform(-30, 30)), Image.Resampling.BILINEAR)
  colour = tuple(int(value) for value in rng.integers(150, 256, size=3))
  corner = (int(rng.integers(width - side + 1)), int(rng.integers(height - side + 1)))
  image.paste(Image.new("RGB", patch.size, colour), corner, patch)
  return image


def _processor() -> float:
  """Seconds of processor time that finished commands have taken."""
  used = resource.getrusage(resource.RUSAGE_CHILDREN)
  return used.ru_utime + used.ru_stime


def _page(config: str, seconds: dict[str, tuple[float, float]], summary: dict) -> str:
  times = {f"`meanet {name}`": pair for name, pair in seconds.items()}
  times["together"] = tuple(sum(pair[place] for pair in seconds.values()) for place in range(2))
  rows = [f"| {name} | {clock:.0f} | {used:.0f} |" for name, (clock, used) in times.items()]
  systems = [
    f"| `{name}` | {100 * summary['systems'][name]['accuracy']:.1f} |"
    for name in ("main_only", "edge_only", "cloud_only", "paper", "meanet")
  ]
  return "\n".join(
    [
      "# Own images of every kind",
      "",
      f"{len(CLASSES)} classes of {FILES} files of 40 to 300 pixels a side: JPEG, PNG, WebP and "
      "TIFF; turned by EXIF, grey, with alpha, of 16 bits per channel, in CMYK; "
      f"{TRUNCATED} of each class truncated. `{config}`. Made by "
      "`python -m benchmarks.own_images_trial`.",
      "",
      "| command | s | s of processor time |",
      "|---|---|---|",
      *rows,
      "",
      "Target: at most 600 s. One seed; test accuracy in percent:",
      "",
      f"| system | {summary['num_examples']} images |",
      "|---|---|",
      *systems,
      "",
      *measured_on(),
    ]
  )


if __name__ == "__main__":
  sys.exit(run_script(__doc__, add_flags, run))
