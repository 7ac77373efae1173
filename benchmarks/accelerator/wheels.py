"""The wheels that a machine with a card lacks, gathered in one folder.

Command: python -m benchmarks.accelerator.wheels --out DIR

The machine has no network and these packages: JAX with CUDA, Flax, Optax, Orbax, NumPy, PyTorch and
torchvision, with what they need. Run this in an environment of the same Python with the package's
dependencies installed: their versions are taken, as they were tested together. No extra is needed
to train. On the machine: pip install --no-index --no-deps DIR/*.whl
"""

import argparse
import importlib.metadata
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from meanet_jax.commands.app import run_script
from meanet_jax.commands.flags import Parser, add_path, require
from meanet_jax.errors import UserError

ROOT = Path(__file__).parents[2]
# Pillow comes with torchvision, the others with their namesakes.
PRESENT = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "pillow")
# Images in Arrow and Parquet files are read with it, and no part has any; it is as large as all
# others together.
LEFT_OUT = {"pyarrow"}
LIMIT = 64 * 2**20  # bytes that such a machine takes beside the working tree


def add_flags(parser: Parser) -> None:
  """The command's flags."""
  add_path(parser, "--out", metavar="DIR", help="where the wheels are put")


def run(given: argparse.Namespace) -> int:
  """Downloads or builds the wheels and prints their sizes; 1 if they are too large together."""
  out = Path(require(given.out, "--out", "--out DIR"))
  with (ROOT / "pyproject.toml").open("rb") as file:
    needed = tomllib.load(file)["project"]["dependencies"]
  names = closure(needed, installed) - closure(PRESENT, installed) - LEFT_OUT
  pinned = [f"{name}=={importlib.metadata.version(name)}" for name in sorted(names)]
  command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", f"--wheel-dir={out}"]
  subprocess.run([*command, *pinned], check=True)
  sizes = {path.name: path.stat().st_size for path in sorted(out.glob("*.whl"))}
  for name, size in sizes.items():
    print(f"{size / 1e3:10,.0f} kB  {name}")
  total = sum(sizes.values())
  print(f"{total / 2**20:.1f} MiB in {len(sizes)} wheels; at most {LIMIT / 2**20:.0f} MiB")
  return 0 if total <= LIMIT else 1


def closure(requirements: Iterable[str], requires: Callable[[str], list[str]]) -> set[str]:
  """The packages that requirements ask for, and those that these need, by canonical name.

  Args:
    requirements: as in pyproject.toml.
    requires: the requirements of an installed package.
  """
  found: set[str] = set()
  waiting = [(Requirement(text), "") for text in requirements]
  seen = set()
  while waiting:
    requirement, extra = waiting.pop()
    if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
      continue
    name = canonicalize_name(requirement.name)
    found.add(name)
    for wanted in ("", *requirement.extras):
      if (name, wanted) not in seen:
        seen.add((name, wanted))
        waiting += [(Requirement(text), wanted) for text in requires(name)]
  return found


def installed(name: str) -> list[str]:
  """The requirements of a package of this environment.

  Raises:
    UserError: it is not installed.
  """
  try:
    return importlib.metadata.requires(name) or []
  except importlib.metadata.PackageNotFoundError as error:
    raise UserError(
      f"package {name} is not installed here; install what pyproject.toml asks for first"
    ) from error


if __name__ == "__main__":
  sys.exit(run_script(__doc__, add_flags, run))
