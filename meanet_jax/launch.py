"""Flags of how a command's process is set up before JAX starts: its cluster, what it compiled."""

import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import jax
from absl import flags

from meanet_jax.errors import UserError
from meanet_jax.training.processes import Cluster


def define_cluster_flags() -> Callable[[], Cluster | None]:
  """Defines `--distributed` and what goes with it; the result gives the cluster, None without.

  Call the result inside `cli.run`. It raises UserError for flags that do not go together.
  """
  distributed = flags.DEFINE_boolean(
    "distributed", False, "This is one of several processes that train one run together."
  )
  coordinator = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0.")
  count = flags.DEFINE_integer("num_processes", None, "How many there are.", lower_bound=1)
  number = flags.DEFINE_integer("process_id", None, "Which this one is, from 0.", lower_bound=0)
  heartbeat = flags.DEFINE_integer(
    "heartbeat_seconds",
    Cluster().heartbeat_seconds,
    "A process that is not heard of for so long ends all others.",
    lower_bound=1,
  )

  def get() -> Cluster | None:
    address, processes, process = coordinator.value, count.value, number.value
    given = {"coordinator": address, "num_processes": processes, "process_id": process}
    missing = [name for name, value in given.items() if value is None]
    if not distributed.value:
      if len(missing) < len(given):
        name = next(name for name in given if name not in missing)
        raise UserError(f"flag --{name} is {given[name]}; accepted: with --distributed alone")
      return None
    if 0 < len(missing) < len(given):
      raise UserError(
        f"flag --{missing[0]} is missing; accepted: --coordinator, --num_processes and "
        "--process_id together, or none of them on TPU, Slurm, Kubernetes or Open MPI"
      )
    if address is not None and not re.fullmatch(r"\S+:\d+", address):
      raise UserError(f"flag --coordinator is {address!r}; accepted: HOST:PORT")
    if process is not None and processes is not None and process >= processes:
      raise UserError(
        f"flag --process_id is {process}; accepted: 0 to {processes - 1}, for {processes} processes"
      )
    return Cluster(address, processes, process, heartbeat.value)

  return get


def define_compilation_cache_flag() -> Callable[[], None]:
  """Defines `--compilation_cache`; the result, called before JAX compiles, sets it up.

  A directory that cannot be written costs one line on stderr and the cache, not the run.
  """
  directory = flags.DEFINE_string(
    "compilation_cache",
    None,
    "Where compiled programs are kept for the next process; empty for nowhere. "
    "JAX_COMPILATION_CACHE_DIR if not given, or meanet_jax in the user's cache directory.",
  )

  def use() -> None:
    asked = directory.value
    if asked is None:
      asked = jax.config.jax_compilation_cache_dir or _default_directory()
    if not asked or not jax.config.jax_enable_compilation_cache:
      jax.config.update("jax_enable_compilation_cache", False)
      return
    path = Path(asked).expanduser().absolute()
    try:
      path.mkdir(parents=True, exist_ok=True)
      with tempfile.TemporaryFile(dir=path):
        pass
    except OSError as error:
      print(
        f"warning: the compilation cache {path} cannot be written ({error.strerror}) and is not "
        "used; --compilation_cache DIR places it elsewhere",
        file=sys.stderr,
      )
      jax.config.update("jax_enable_compilation_cache", False)
      return
    jax.config.update("jax_compilation_cache_dir", str(path))

  return use


def _default_directory() -> str:
  home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
  return os.path.join(home, "meanet_jax")
