"""What a process runs on: versions, devices, git commit."""

import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "meanet_jax")


def environment() -> dict[str, Any]:
  """Versions, devices and git commit of this process."""
  return {
    "python": platform.python_version(),
    "platform": platform.platform(),
    "packages": {name: _version(name) for name in PACKAGES},
    "backend": jax.default_backend(),
    "devices": [device.device_kind for device in jax.devices()],
    "processes": jax.process_count(),
    "git_commit": _git_commit(),
    "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
  }


def _version(package: str) -> str | None:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return None


def _git_commit() -> str | None:
  try:
    result = subprocess.run(
      ["git", "rev-parse", "HEAD"],
      cwd=Path(__file__).parent,
      capture_output=True,
      text=True,
      check=True,
    )
  except (OSError, subprocess.CalledProcessError):
    return None
  return result.stdout.strip()
