"""Processes that see several CPU devices."""

import os


def forced_devices(count: int) -> dict[str, str]:
  """What to add to a process' environment: the settings of these tests, and so many devices."""
  flag = f"--xla_force_host_platform_device_count={count}"
  return {"XLA_FLAGS": f"{os.environ['XLA_FLAGS']} {flag}"}
