"""The flags that make a command one of several processes."""

import argparse
import re

from meanet_jax.cluster import Cluster
from meanet_jax.commands.flags import Parser, add_integer, add_switch
from meanet_jax.config.ranges import Range
from meanet_jax.errors import UserError

PORTS = range(1, 2**16)


def add_cluster_flags(parser: Parser) -> None:
  """Adds `--distributed` and what goes with it."""
  flags = parser.add_argument_group("several processes")
  add_switch(flags, "--distributed", "this is one of several processes that train one run together")
  flags.add_argument("--coordinator", metavar="HOST:PORT", help="of process 0")
  add_integer(flags, "--num-processes", Range(1), help="how many there are")
  add_integer(flags, "--process-id", Range(0), help="which this one is, from 0")
  add_integer(
    flags,
    "--heartbeat-seconds",
    Range(1),
    default=Cluster().heartbeat_seconds,
    help="a process that is not heard of for so long ends all others",
  )
  add_integer(
    flags,
    "--start-seconds",
    Range(1),
    default=Cluster().start_seconds,
    help="processes that have not met after so long end",
  )


def read_cluster(given: argparse.Namespace) -> Cluster | None:
  """The cluster that the flags name; None without `--distributed`.

  Raises:
    UserError: flags that do not go together.
  """
  address, processes, process = given.coordinator, given.num_processes, given.process_id
  values = {"coordinator": address, "num-processes": processes, "process-id": process}
  missing = [name for name, value in values.items() if value is None]
  if not given.distributed:
    if len(missing) < len(values):
      name = next(name for name in values if name not in missing)
      raise UserError(f"flag --{name} is {values[name]}; accepted: only with --distributed")
    return None
  if 0 < len(missing) < len(values):
    raise UserError(
      f"flag --{missing[0]} is missing; accepted: --coordinator, --num-processes and "
      "--process-id together, or none of them on TPU, Slurm, Kubernetes or Open MPI"
    )
  if address is not None:
    _check_address(address)
  if process is not None and processes is not None and process >= processes:
    raise UserError(
      f"flag --process-id is {process}; accepted: 0 to {processes - 1}, for {processes} processes"
    )
  return Cluster(address, processes, process, given.heartbeat_seconds, given.start_seconds)


def _check_address(address: str) -> None:
  found = re.fullmatch(r"(?:\[[^\s\[\]]+\]|[^\s:\[\]]+):(\d{1,5})", address)
  if found is None or int(found[1]) not in PORTS:
    raise UserError(
      f"flag --coordinator is {address!r}; accepted: HOST:PORT or [IPV6]:PORT, with a port of "
      f"{PORTS[0]} to {PORTS[-1]}"
    )
