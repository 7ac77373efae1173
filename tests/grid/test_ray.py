"""Groups as tasks of a Ray cluster of two nodes, a worker of which is killed in the middle."""

import contextlib
import dataclasses
import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from meanet_jax.config.grid import GridConfig, RayConfig
from meanet_jax.grid.run import train_grid

ray = pytest.importorskip("ray")

# Ray's own: files and sockets that its processes leave to the collector, and its future defaults.
pytestmark = [
  pytest.mark.filterwarnings("ignore::ResourceWarning:ray"),
  pytest.mark.filterwarnings("ignore:.*RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO:FutureWarning"),
  pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
  pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def worker_of(task: str) -> int | None:
  """The process of a Ray task, which bears its name."""
  for entry in Path("/proc").iterdir():
    with contextlib.suppress(OSError):
      if entry.name.isdigit() and (entry / "cmdline").read_text().startswith(f"ray::{task}"):
        return int(entry.name)
  return None


@pytest.fixture
def cluster(monkeypatch):
  """Two nodes of one processor each.

  Ray gives its own processes 30 s to come up, which a machine that does other work can exceed.
  That is not what is tested: they get longer, and a second start.
  """
  from ray.cluster_utils import Cluster  # pyright: ignore[reportMissingImports] - in the full tier alone

  monkeypatch.setenv("RAY_gcs_server_port_wait_time_s", "120")
  nodes = Cluster()
  try:
    nodes.add_node(num_cpus=1)
  except Exception:  # whatever Ray raises
    nodes.shutdown()
    nodes = Cluster()
    nodes.add_node(num_cpus=1)
  nodes.add_node(num_cpus=1)
  yield nodes
  ray.shutdown()
  nodes.shutdown()


@pytest.mark.full
def test_every_point_finishes_once_though_a_worker_is_killed(tiny, cluster, tmp_path):
  stages = {
    name: dataclasses.replace(tiny.stage(name), epochs=6) for name in ("main", "edge", "cloud")
  }
  config = dataclasses.replace(tiny, stages=dataclasses.replace(tiny.stages, **stages))
  # Two groups of one program each: widths differ.
  axes = ("model.extension.widths=(8,),(12,)",)
  settings = RayConfig(address=cluster.address, num_cpus=1.0, max_retries=2)
  killed: list[int] = []

  def kill_one() -> None:
    """The worker of the first point, once its metrics tell of a step."""
    metrics = tmp_path / "grid" / "points" / "000" / "metrics.jsonl"
    while not (metrics.exists() and metrics.stat().st_size):
      time.sleep(0.05)
    found = worker_of("trials 000 to 000")
    if found is not None:
      os.kill(found, signal.SIGKILL)
      killed.append(found)

  watcher = threading.Thread(target=kill_one, daemon=True)
  watcher.start()
  try:
    train_grid(
      config,
      GridConfig(axes=axes, executor="ray", ray=settings),
      tmp_path / "grid",
    )
  finally:
    watcher.join(timeout=60)
  assert killed
  grid = json.loads((tmp_path / "grid" / "grid.json").read_text())
  assert [point["status"] for point in grid["points"]] == ["finished"] * 2
  for point in ("000", "001"):
    lines = (tmp_path / "grid" / "points" / point / "metrics.jsonl").read_text().splitlines()
    validated = [
      (line["stage"], line["step"])
      for line in map(json.loads, lines)
      if "validation_accuracy" in line
    ]
    assert len(validated) == len(set(validated)) == 18  # 6 epochs of three stages, none twice
