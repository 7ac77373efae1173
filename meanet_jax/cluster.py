"""Where the processes of a run are. No JAX, for flags are made of it."""

from typing import NamedTuple


class Cluster(NamedTuple):
  """How the processes of a run find each other.

  coordinator: HOST:PORT of process 0. num_processes, process_id: how many, and which this one is.
  All None: as TPU, Slurm, Kubernetes or Open MPI say in the environment.
  heartbeat_seconds: a process that has sent no sign of life for so long ends all others.
  start_seconds: processes that are not all connected after so long end.
  """

  coordinator: str | None = None
  num_processes: int | None = None
  process_id: int | None = None
  heartbeat_seconds: int = 60
  start_seconds: int = 300
