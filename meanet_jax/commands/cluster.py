"""The flags that make a command one of several processes."""

import re
from collections.abc import Callable

from absl import flags

from meanet_jax.errors import UserError
from meanet_jax.training.cluster import Cluster

PORTS = range(1, 2**16)


def define_cluster_flags() -> Callable[[], Cluster | None]:
  """Defines `--distributed` and what goes with it; the result gives the cluster, None without.

  Call the result inside `cli.run`. It raises UserError for flags that do not go together.
  """
  distributed = flags.DEFINE_boolean(
    "distributed",
    False,
    "This is one of several processes that train one run together.",
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
  start = flags.DEFINE_integer(
    "start_seconds",
    Cluster().start_seconds,
    "Processes that have not met after so long end.",
    lower_bound=1,
  )

  def get() -> Cluster | None:
    address, processes, process = coordinator.value, count.value, number.value
    given = {"coordinator": address, "num_processes": processes, "process_id": process}
    missing = [name for name, value in given.items() if value is None]
    if not distributed.value:
      if len(missing) < len(given):
        name = next(name for name in given if name not in missing)
        raise UserError(f"flag --{name} is {given[name]}; accepted: only with --distributed")
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


def _check_address(address: str) -> None:
  found = re.fullmatch(r"(?:\[[^\s\[\]]+\]|[^\s:\[\]]+):(\d{1,5})", address)
  if found is None or int(found[1]) not in PORTS:
    raise UserError(
      f"flag --coordinator is {address!r}; accepted: HOST:PORT or [IPV6]:PORT, with a port of "
      f"{PORTS[0]} to {PORTS[-1]}"
    )
