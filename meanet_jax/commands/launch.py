"""Flags of how a command's process is set up before JAX starts: its cluster, what it compiled."""

import contextlib
import os
import re
import sys
import uuid
from collections.abc import Callable

import jax
from absl import flags
from etils import epath

from meanet_jax.commands.flags import CACHE_SCHEMES, CACHE_VARIABLE, define_path_flag
from meanet_jax.errors import MeetingError, UserError
from meanet_jax.paths import expanded_path
from meanet_jax.stdout import say_on_stderr
from meanet_jax.training.distributed import Cluster
from meanet_jax.training.rendezvous import meet

PORTS = range(1, 2**16)


def define_cluster_flags(to: flags.FlagValues = flags.FLAGS) -> Callable[[], Cluster | None]:
  """Defines `--distributed` and what goes with it; the result gives the cluster, None without.

  Call the result inside `cli.run`. It raises UserError for flags that do not go together.
  """
  distributed = flags.DEFINE_boolean(
    "distributed",
    False,
    "This is one of several processes that train one run together.",
    flag_values=to,
  )
  coordinator = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0.", flag_values=to)
  count = flags.DEFINE_integer(
    "num_processes", None, "How many there are.", lower_bound=1, flag_values=to
  )
  number = flags.DEFINE_integer(
    "process_id", None, "Which this one is, from 0.", lower_bound=0, flag_values=to
  )
  heartbeat = flags.DEFINE_integer(
    "heartbeat_seconds",
    Cluster().heartbeat_seconds,
    "A process that is not heard of for so long ends all others.",
    lower_bound=1,
    flag_values=to,
  )
  start = flags.DEFINE_integer(
    "start_seconds",
    Cluster().start_seconds,
    "Processes that have not met after so long end.",
    lower_bound=1,
    flag_values=to,
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
    if address is not None:
      _check_address(address)
    if process is not None and processes is not None and process >= processes:
      raise UserError(
        f"flag --process_id is {process}; accepted: 0 to {processes - 1}, for {processes} processes"
      )
    return Cluster(address, processes, process, heartbeat.value, start.value)

  return get


def tell_other_processes(error: UserError) -> None:
  """Tells the processes that wait for this one at `--coordinator` that it ends, and why.

  Does nothing once they have met, or where the flags do not say where. For `cli.run`: what is wrong
  may be another flag, so those of the cluster are read again, and alone.
  """
  if isinstance(error, MeetingError) or jax.distributed.is_initialized():
    return
  own = flags.FlagValues()
  get = define_cluster_flags(own)
  try:
    own(sys.argv, known_only=True)
    cluster = get()
  except (flags.Error, UserError):
    return
  meeting = None if cluster is None else cluster.meeting()
  if meeting is not None:
    with contextlib.suppress(MeetingError):
      meet(meeting, str(error))


def _check_address(address: str) -> None:
  found = re.fullmatch(r"(?:\[[^\s\[\]]+\]|[^\s:\[\]]+):(\d{1,5})", address)
  if found is None or int(found[1]) not in PORTS:
    raise UserError(
      f"flag --coordinator is {address!r}; accepted: HOST:PORT or [IPV6]:PORT, with a port of "
      f"{PORTS[0]} to {PORTS[-1]}"
    )


def define_compilation_cache_flag() -> Callable[[], None]:
  """Defines `--compilation_cache`; the result, called before JAX compiles, sets it up.

  A directory that cannot be written costs one line on stderr and the cache, not the run.
  """
  directory = define_path_flag(
    "compilation_cache",
    None,
    "Where compiled programs are kept for the next process, a directory or gs://...; empty for "
    f"nowhere. {CACHE_VARIABLE} if not given, or meanet_jax in the user's cache directory.",
    CACHE_SCHEMES,
  )

  def use() -> None:
    asked = directory.value
    if not jax.config.jax_enable_compilation_cache:
      return
    try:
      if asked is None:
        asked = jax.config.jax_compilation_cache_dir or _default_directory()
      if asked:
        asked = _writable(asked)
    except _NotUsedError as error:
      say_on_stderr(
        f"warning: {error} and is not used; --compilation_cache DIR places it elsewhere"
      )
      asked = ""
    if asked:
      jax.config.update("jax_compilation_cache_dir", asked)
    else:
      jax.config.update("jax_enable_compilation_cache", False)

  return use


class _NotUsedError(Exception):
  """Why there is no cache, in words."""


def _default_directory() -> str:
  home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
  try:
    return os.path.join(expanded_path(home, "environment variable XDG_CACHE_HOME"), "meanet_jax")
  except UserError as error:
    raise _NotUsedError(f"the compilation cache has no place below {home}") from error


def _writable(asked: str) -> str:
  """The directory as JAX takes it, once something could be written there."""
  try:
    path = epath.Path(asked if "://" in asked else os.path.abspath(asked))
    path.mkdir(parents=True, exist_ok=True)
    probe = path / f".{uuid.uuid4().hex}.partial"
    probe.write_bytes(b"")
    probe.unlink()
  except Exception as error:  # what reaches a bucket raises whatever it does
    why = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
    raise _NotUsedError(
      f"the compilation cache {asked} cannot be written ({' '.join(why.split())})"
    ) from error
  return str(path)
