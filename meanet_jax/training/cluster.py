"""How the processes of a run are connected, and how each of them ends.

jaxlib ends a process that waits in vain late and with a stack trace, and crashes where it cannot
listen; this module ends it before, with one line. docs/distributed.md lists what a user reads.
"""

import atexit
import contextlib
import os
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Iterator
from importlib.util import find_spec

import jax

from meanet_jax.cluster import Cluster
from meanet_jax.devices import check_devices
from meanet_jax.errors import ProcessLostError, UserError
from meanet_jax.stdout import say_on_stderr
from meanet_jax.training.distributed import all_succeed, is_everywhere

_FROM_XLA = (jax.errors.JaxRuntimeError, ValueError)  # awaited, or raised at once


@contextlib.contextmanager
def connected(cluster: Cluster) -> Iterator[None]:
  """A context in which this process is one of several. To be entered before JAX is used.

  An error that all processes raise leaves it as any other does. One that this process raises alone
  ends the process without waiting for the others, who may be waiting for it in the middle of a
  step: JAX's coordination service misses it after `heartbeat_seconds` and ends them.

  Raises:
    UserError: no cluster was found, process 0 cannot listen, not all processes connected, they
      count each other differently, or there are no devices.
  """
  jax.config.update("jax_enable_preemption_service", True)  # for `stop_together`
  _check_port(cluster)
  with _ended_after(cluster), warnings.catch_warnings():
    # Five lines; `_initialize` says it in one.
    warnings.filterwarnings("ignore", r"\s*Kubernetes environment detected")
    _initialize(cluster)
  try:
    check_devices()
    all_succeed(lambda: _check_count(cluster))
    yield
  except Exception as error:
    if is_everywhere(error):
      raise
    lost = isinstance(error, _FROM_XLA) and "Gloo" in str(error)
    _leave_alone(ProcessLostError.status if lost else getattr(error, "status", 1))
    if lost:
      raise ProcessLostError(
        "another process of this run has ended; its own last line says why"
      ) from error
    raise
  except KeyboardInterrupt:
    _leave_alone(130)
    raise


def _initialize(cluster: Cluster) -> None:
  try:
    jax.distributed.initialize(
      cluster.coordinator,
      cluster.num_processes,
      cluster.process_id,
      # With an address, Slurm would still choose a GPU, and Kubernetes would still be queried.
      cluster_detection_method=None if cluster.coordinator is None else "deactivate",
      initialization_timeout=cluster.start_seconds + 60,  # `_ended_after` comes first
      heartbeat_timeout_seconds=cluster.heartbeat_seconds,
    )
  except ValueError as error:
    if "KUBERNETES_SERVICE_HOST" in os.environ and find_spec("kubernetes") is None:
      raise UserError(
        "flag --distributed: the package kubernetes is missing, through which a pod finds the "
        "others; run pip install 'meanet_jax[k8s]', or give --coordinator, --num-processes and "
        "--process-id"
      ) from error
    raise UserError(
      f"flag --distributed: no cluster was found ({error}); accepted: a TPU slice, Slurm, "
      "Kubernetes or Open MPI, or --coordinator, --num-processes and --process-id"
    ) from error
  except Exception as error:  # of whatever the cluster is asked through
    raise UserError(
      f"flag --distributed: the processes did not connect ({type(error).__name__}: {error}); start "
      "all of them within --start-seconds, on hosts that reach process 0"
    ) from error


def _check_port(cluster: Cluster) -> None:
  """Refuses a port on which process 0 cannot listen: jaxlib crashes there, more often than not."""
  if cluster.coordinator is None or cluster.process_id != 0:
    return
  if "JAX_COORDINATOR_BIND_ADDRESS" in os.environ:  # JAX listens there instead
    return
  port = int(cluster.coordinator.rpartition(":")[2])
  dual = socket.has_dualstack_ipv6()
  try:
    with socket.socket(socket.AF_INET6 if dual else socket.AF_INET) as probe:
      if dual:
        probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
      probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gRPC does
      probe.bind(("", port))
  except OSError as error:
    raise UserError(
      f"flag --coordinator is {cluster.coordinator}: process 0 cannot listen on port {port} "
      f"({error.strerror}); give a port that is free on its host"
    ) from error


def _check_count(cluster: Cluster) -> None:
  """JAX takes process 0's word for how many there are, and trains without those above."""
  if cluster.num_processes not in (None, jax.process_count()):
    raise UserError(
      f"flag --num-processes is {cluster.num_processes} in process {jax.process_index()} and "
      f"{jax.process_count()} in process 0; accepted: the same in every process"
    )


@contextlib.contextmanager
def _ended_after(cluster: Cluster) -> Iterator[None]:
  """A context that ends the process with one line if it is not left within `start_seconds`.

  jaxlib aborts after its own time-out, with a stack trace, and nothing can be raised meanwhile: it
  waits in C++, where no handler of Python's runs. So Ctrl-C has the system's own effect here.
  """

  def end() -> None:
    say_on_stderr(f"error: {_not_connected(cluster)}")
    os._exit(UserError.status)

  timer = threading.Timer(cluster.start_seconds, end)
  timer.daemon = True
  interrupt = signal.getsignal(signal.SIGINT)
  timer.start()
  if interrupt == signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
  try:
    yield
  finally:
    timer.cancel()
    if interrupt == signal.default_int_handler:
      signal.signal(signal.SIGINT, interrupt)


def _not_connected(cluster: Cluster) -> str:
  if cluster.coordinator is None:
    return (
      f"flag --distributed: not all processes connected within {cluster.start_seconds} s; start "
      "all of them within --start-seconds, on hosts that reach process 0"
    )
  return (
    f"process {cluster.process_id} of {cluster.num_processes}: not all processes connected to "
    f"{cluster.coordinator} within {cluster.start_seconds} s; start all of them within "
    "--start-seconds, with process 0's address as --coordinator and each with its own --process-id"
  )


def _leave_alone(status: int) -> None:
  """Ends this process once its error is printed, before JAX's handler, which waits for others."""

  def leave() -> None:
    try:
      sys.stdout.flush()
      sys.stderr.flush()
    finally:  # where nobody reads them any more, too
      os._exit(status)

  atexit.register(leave)
