"""Which accelerators JAX looks for. No JAX is imported before it is known that it matters."""

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

_GOOGLE = "0x1ae0"
# Classes of PCI devices (their first byte): disks and network cards, which Google's machines have
# without a TPU as well.
_NO_TPU = ("0x01", "0x02")
# Set by JAX and by libtpu's Python package where they find no TPU, too.
_SAY_NOTHING = ("TPU_SKIP_MDS_QUERY", "TPU_LIBRARY_PATH")


def skip_absent_tpu() -> None:
  """Keeps JAX from loading libtpu where it is installed and no TPU is there.

  libtpu would say on stderr that it finds none, at every command. Called before JAX has looked for
  devices; it does nothing where JAX_PLATFORMS says what to look for, or a TPU may be there.
  """
  if os.environ.get("JAX_PLATFORMS") or importlib.util.find_spec("libtpu") is None:
    return
  if tpu_may_be_here(os.environ):
    return
  import jax
  from jax.extend import backend

  if not jax.config.jax_platforms:
    # Instead of JAX's own; what compiles for a slice that need not exist does not go through it.
    backend.register_backend_factory("tpu", _absent, fail_quietly=True)


def tpu_may_be_here(environment: Mapping[str, str], root: Path = Path("/")) -> bool:
  """Whether anything points to a TPU, known to this version of JAX or not.

  Args:
    environment: its variables that begin with TPU_ are set where a TPU is.
    root: of the file system.
  """
  if "JAX_FORCE_TPU_INIT" in environment:
    return True
  if any(name.startswith("TPU_") and name not in _SAY_NOTHING for name in environment):
    return True
  if any(root.glob("dev/accel*")) or any(root.glob("dev/vfio/[0-9]*")):
    return True
  return any(map(_is_google_processor, root.glob("sys/bus/pci/devices/*")))


def _is_google_processor(device: Path) -> bool:
  try:
    vendor = (device / "vendor").read_text().strip()
    kind = (device / "class").read_text().strip()
  except OSError:
    return False
  return vendor == _GOOGLE and not kind.startswith(_NO_TPU)


def _absent() -> NoReturn:
  raise RuntimeError("no TPU on this machine")
