"""Clusters that JAX finds in the environment: what a process sees there is set for real ones."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import jax

from tests.ports import free_address

ROOT = Path(__file__).parents[2]
# Which GPUs a process would take is decided before JAX starts a backend, so a CPU can tell.
CONNECTS = """
import jax
import sys
from meanet_jax.commands.app import run_script
from meanet_jax.cluster import Cluster
from meanet_jax.training.cluster import connected

def main():
  with connected(Cluster(%s)):
    gpus = jax.config.values["jax_cuda_visible_devices"]
    print(jax.process_index(), "of", jax.process_count(), "GPU", gpus)

sys.exit(run_script(None, lambda _: None, lambda _: main()))
"""
FOUND = "start_seconds=60"
# What jax.distributed asks a cluster for: the job of the pod with this host's address.
KUBERNETES = """
import builtins, contextlib, io, sys
from types import SimpleNamespace as Fake

opened = builtins.open
builtins.open = lambda path, *rest, **named: (
  io.StringIO("here") if "kubernetes.io" in str(path) else opened(path, *rest, **named)
)
pod = Fake(metadata=Fake(name="pod", labels={"job-name": "job"},
                         owner_references=[Fake(controller=True, kind="Job")]))
job = Fake(metadata=Fake(name="job", labels={}), spec=Fake(parallelism=2))
sys.modules["kubernetes"] = Fake(
  config=Fake(load_incluster_config=lambda: None),
  client=Fake(
    CoreV1Api=lambda: Fake(list_namespaced_pod=lambda **_: Fake(items=[pod])),
    BatchV1Api=lambda: Fake(read_namespaced_job=lambda **_: job),
    exceptions=Fake(ApiException=OSError),
  ),
)
"""
MISSING = "import sys\nsys.modules['kubernetes'] = None\n"
FOUND_BY = re.compile("SLURM_|OMPI_|KUBERNETES_|JOB_COMPLETION_INDEX|JAX_COORDINATOR|JAX_LOCAL")


def start(script: str, **environment: str) -> subprocess.Popen:
  here = {name: value for name, value in os.environ.items() if not FOUND_BY.match(name)}
  return subprocess.Popen(
    [sys.executable, "-c", script],
    cwd=ROOT,
    env=here | environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def out(process: subprocess.Popen) -> str:
  text, error = process.communicate(timeout=300)
  assert process.returncode == 0, error
  return text.splitlines()[-1]  # Gloo prints before


def one_line_error(process: subprocess.Popen) -> str:
  text, error = process.communicate(timeout=300)
  assert (process.returncode, text) == (2, ""), error
  (line,) = error.splitlines()
  return line


def slurm(number: int, job: str, tasks: int = 2) -> dict[str, str]:
  """What srun --nodes=1 --ntasks-per-node=2 --gpus-per-node=2 sets for one task."""
  return {
    "SLURM_JOB_ID": job,
    "SLURM_STEP_NODELIST": "localhost",
    "SLURM_STEP_NUM_NODES": "1",
    "SLURM_NTASKS": str(tasks),
    "SLURM_PROCID": str(number),
    "SLURM_LOCALID": str(number),
  }


def slurm_job() -> str:
  """One of those whose coordinator's port, which JAX takes from their number, is free."""
  for job in range(4096):
    with socket.socket() as free:
      try:
        free.bind(("127.0.0.1", 65535 - 4095 + job))
      except OSError:
        continue
    return str(job)
  raise AssertionError("no port is free")


def test_slurm_tasks_find_each_other_and_take_a_gpu_each():
  job = slurm_job()
  tasks = [start(CONNECTS % FOUND, **slurm(number, job)) for number in (0, 1)]
  assert [out(task) for task in tasks] == ["0 of 2 GPU 0", "1 of 2 GPU 1"]


def test_a_slurm_task_alone_ends_with_one_line():
  for number in (0, 1):
    assert one_line_error(start(CONNECTS % "start_seconds=1", **slurm(number, slurm_job()))) == (
      "error: flag --distributed: not all processes connected within 1 s; start all of them within "
      "--start-seconds, on hosts that reach process 0"
    )


def test_pods_of_a_job_find_each_other():
  job = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JAX_COORDINATOR_ADDRESS": free_address()}
  pods = [
    start(
      KUBERNETES + CONNECTS % FOUND, **job, HOSTNAME="localhost", JOB_COMPLETION_INDEX=str(number)
    )
    for number in (0, 1)
  ]
  every = jax.config.values["jax_cuda_visible_devices"]
  assert [out(pod) for pod in pods] == [f"0 of 2 GPU {every}", f"1 of 2 GPU {every}"]


def test_a_pod_without_what_it_needs():
  pod = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
  assert one_line_error(start(MISSING + CONNECTS % FOUND, **pod)) == (
    "error: flag --distributed: the package kubernetes is missing, through which a pod finds the "
    "others; run pip install 'meanet_jax[k8s]', or give --coordinator, --num-processes and "
    "--process-id"
  )
  line = one_line_error(
    start(KUBERNETES + CONNECTS % FOUND, **pod, HOSTNAME="localhost", JAX_COORDINATOR_ADDRESS="a:1")
  )
  assert line.startswith("error: flag --distributed: the processes did not connect (RuntimeError: ")
  assert 'completionMode: "Indexed"' in line


def test_with_a_coordinator_no_cluster_is_looked_for():
  given = f"{free_address()!r}, 1, 0"
  pod = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
  process = start(MISSING + CONNECTS % given, **slurm(1, "0"), **pod)
  every = jax.config.values["jax_cuda_visible_devices"]
  assert out(process) == f"0 of 1 GPU {every}"


def test_no_cluster():
  line = one_line_error(start(CONNECTS % FOUND))
  assert line.startswith("error: flag --distributed: no cluster was found (coordinator_address")
