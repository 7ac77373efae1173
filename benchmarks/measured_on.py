"""What a benchmark's page says beside its figures, and both times of a piece of work."""

import os
import time
from collections.abc import Callable
from typing import Any

from meanet_jax.runs.environment import environment


def measured_on() -> list[str]:
  """Load, hardware and versions: the last lines of a page."""
  here = environment()
  versions = ", ".join(f"{p} {v}" for p, v in here["packages"].items())
  return [
    f"Load of the machine (1 minute) at the end: {os.getloadavg()[0]:.1f}. "
    f"Hardware: {os.cpu_count()} CPU cores; {here['platform']}.",
    f"Versions: Python {here['python']}, {versions}.",
    "",
  ]


def seconds(work: Callable[[], Any]) -> tuple[float, float]:
  """Seconds of a piece of work on the clock, and of processor time."""
  wall, processor = time.perf_counter(), time.process_time()
  work()
  return time.perf_counter() - wall, time.process_time() - processor
