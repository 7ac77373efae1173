"""A TPU slice that need not exist: its devices, for which a program can be compiled but not run."""

import importlib.util
import os
import re
from typing import Any

import jax
from jax.experimental import topologies

from meanet_jax.errors import UserError
from meanet_jax.planning.chips import CHIPS, Chip

# What libtpu reads when it is loaded. Nothing of it is a setting of the compiler: it asks no
# metadata server which machine this is, and keeps its log (levels: 3 is fatal) off the terminal.
# Another process may hold libtpu's lock, as any JAX process does where libtpu is installed; the
# lock guards chips, which a compilation does not touch.
ENVIRONMENT = {
  "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
  "TPU_ACCELERATOR_TYPE": "v5litepod-4",
  "TPU_MIN_LOG_LEVEL": "3",
  "TPU_SKIP_MDS_QUERY": "1",
  "TPU_STDERR_LOG_LEVEL": "3",
  "TPU_WORKER_HOSTNAMES": "localhost",
}
CHIPS_PER_HOST = 2  # along the first two axes of a slice, libtpu's own default
ACCEPTED = "a chip and the slice's shape, such as v5e:4x8, v4:2x2x4, v5p:2x2x1 or v6e:16x16"


def open_slice(name: str) -> tuple[Chip, list[Any]]:
  """The chip of a slice, and one device per chip.

  This process is then for compiling alone: it computes on the CPU and leaves chips that this
  machine may have to others.

  Args:
    name: chip and shape, as `v5e:4x8`.

  Raises:
    UserError: no such slice, a chip without figures in `planning/chips.py`, or no libtpu.
  """
  shape = re.fullmatch(r"(\w+):(\d+(?:x\d+){1,2})", name)
  if shape is None:
    raise UserError(f"flag --topology is {name!r}; accepted: {ACCEPTED}")
  if importlib.util.find_spec("libtpu") is None:
    raise UserError(
      "libtpu, the TPU's compiler, is not installed; accepted: pip install 'meanet_jax[tpu]' "
      "(Linux on x86-64)"
    )
  for variable, value in ENVIRONMENT.items():
    os.environ.setdefault(variable, value)
  jax.config.update("jax_platforms", "cpu")
  sides = [int(side) for side in shape[2].split("x")]
  options: dict[str, Any] = {
    "chips_per_host_bounds": [min(side, CHIPS_PER_HOST) for side in sides[:2]] + [1]
  }
  if shape[1] == "v4":
    options["chip_config_name"] = "megacore"  # both cores of a chip as one device, as JAX has them
  try:
    devices = topologies.get_topology_desc(name, "tpu", **options).devices
  except jax.errors.JaxRuntimeError as error:
    raise UserError(f"flag --topology is {name!r} ({error}); accepted: {ACCEPTED}") from error
  kind = devices[0].device_kind
  if kind not in CHIPS:
    known = ", ".join(chip.name for chip in CHIPS.values())
    raise UserError(f"flag --topology is {name!r}, of {kind!r}; accepted: chips {known}")
  chip = CHIPS[kind]
  if len(devices) > chip.largest_slice:
    raise UserError(
      f"flag --topology is {name!r}, of {len(devices)} chips; accepted: at most "
      f"{chip.largest_slice} of {chip.name}"
    )
  return chip, list(devices)
