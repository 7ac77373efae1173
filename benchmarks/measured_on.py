"""What a benchmark's page says beside its figures, and both times of a piece of work."""

import importlib.metadata
import os
import time
from collections.abc import Callable
from typing import Any

from meanet_jax.runs.environment import environment


def measured_on(*packages: str) -> list[str]:
  """Load, hardware and versions: the last lines of a page.

  Args:
    packages: whose versions are named beside those of every run.
  """
  here = environment()
  found = here["packages"] | {name: importlib.metadata.version(name) for name in packages}
  versions = ", ".join(f"{name} {version}" for name, version in found.items())
  load = ", ".join(f"{mean:.1f}" for mean in os.getloadavg())
  devices = f"{len(here['devices'])} x {here['devices'][0]} device"
  return [
    f"Load of the machine (1, 5 and 15 minutes) at the end: {load}. "
    f"Hardware: {os.cpu_count()} CPU cores, {devices}; {here['platform']}.",
    f"Versions: Python {here['python']}, {versions}.",
    "",
  ]


def seconds(work: Callable[[], Any]) -> tuple[float, float]:
  """Seconds of a piece of work on the clock, and of processor time."""
  wall, processor = time.perf_counter(), time.process_time()
  work()
  return time.perf_counter() - wall, time.process_time() - processor
