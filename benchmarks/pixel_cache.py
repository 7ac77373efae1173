"""Times loading a prepared set with and without kept pixels; writes benchmarks/pixel_cache.md.

Command: python -m benchmarks.pixel_cache --data-dir DIR, where `meanet prepare fashion_mnist` put
Fashion-MNIST (docs/data.md). The first rows write beside the set; run it on a copy.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measured_on import measured_on, seconds
from meanet_jax.commands.app import run_script
from meanet_jax.commands.flags import Parser, add_integer, add_path
from meanet_jax.config.load import load_config
from meanet_jax.config.ranges import Range
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.data.sources import load, load_test
from meanet_jax.files import write_text


def add_flags(parser: Parser) -> None:
  """The benchmark's flags."""
  add_path(parser, "--data-dir", required=True, help="where the prepared set lies")
  add_integer(parser, "--repeats", Range(1), default=5, help="measurements of each kind")


def run(given: argparse.Namespace) -> None:
  """Measures and writes the page."""
  config = load_config("fashion_mnist").dataset
  kept = ReadOptions(given.data_dir)
  anew = ReadOptions(given.data_dir, decode_again=True)
  load(config, kept)  # imports everything, and keeps the pixels
  rows: dict[str, Callable[[], Any]] = {
    "all splits, decoded": lambda: load(config, anew),
    "all splits, kept pixels": lambda: load(config, kept),
    "the test split alone, decoded": lambda: load_test(config, anew),
    "the test split alone, kept pixels": lambda: load_test(config, kept),
  }
  times = [{name: seconds(work) for name, work in rows.items()} for _ in range(given.repeats)]
  size = sum(path.stat().st_size for path in Path(given.data_dir).rglob("*.pixels.npz"))
  lines = [
    "# Kept pixels",
    "",
    "Loading Fashion-MNIST (70,000 PNGs of 28x28), as train, eval and export each do. Medians of "
    f"{given.repeats} measurements, the kinds in turn. Made by `python -m benchmarks.pixel_cache "
    "--data-dir DIR`.",
    "",
    "| what | s | s of processor time |",
    "|---|---|---|",
  ]
  for name in rows:
    wall, processor = (statistics.median(row[name][place] for row in times) for place in range(2))
    lines.append(f"| {name} | {wall:.2f} | {processor:.2f} |")
  lines += [
    "",
    f"The kept pixels take {size / 1e6:.1f} MB. Their checksum is compared at every load.",
    "",
    *measured_on(),
  ]
  text = "\n".join(lines)
  write_text(Path(__file__).with_suffix(".md"), text)
  print(text)


if __name__ == "__main__":
  sys.exit(run_script(__doc__, add_flags, run))
