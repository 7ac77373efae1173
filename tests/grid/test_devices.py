"""A grid on several devices, and in several processes: real ones, through train.py."""

import signal
from pathlib import Path

import pytest

from meanet_jax.files import read_json
from tests.grid.test_trials import STAGES, arrays, assert_close
from tests.training.test_distributed import Ended, Pair, start


def check(grid: Path, alone: list[Path]) -> None:
  """Three points, one of which diverges: the others as trained alone, on one device."""
  for point, run in enumerate(alone):
    for stage in STAGES:
      ours, theirs = arrays(grid / "points" / f"{point:03d}", stage), arrays(run, stage)
      assert ours["['step']"] == theirs["['step']"] >= 10
      assert_close(ours, theirs, (point, stage))
  found = read_json(grid / "grid.json")
  assert [point["status"] for point in found["points"]] == ["finished", "finished", "diverged"]
  best = grid / found["best"]["workdir"]
  assert found["best"]["test"] == read_json(best / "eval" / "summary.json")["systems"]


@pytest.fixture(scope="module")
def on_two_devices(axes, tmp_path_factory) -> Path:
  """Three over two devices, where the second has an empty place; the grid is configuration."""
  grid = tmp_path_factory.mktemp("devices") / "grid"
  ended = Ended.of(start(2, grid, f"--config.grid.axes={axes!r}"))
  assert ended.status == 0, ended.error
  return grid


def test_members_are_shared_out_over_the_devices_of_a_process(on_two_devices, alone):
  check(on_two_devices, alone)


@pytest.mark.full
def test_members_are_shared_out_over_the_devices_of_all_processes(alone, axes, tmp_path):
  """Two over the two devices of process 0, one and an empty device in process 1, which is mute."""
  grid = tmp_path / "grid"
  first, second = Pair(grid, f"--grid={';'.join(axes)}").end()
  assert (first.status, second.status) == (0, 0), (first.error, second.error)
  assert "best by validation" in first.out
  assert (second.out, first.error, second.error) == ("", "", "")
  check(grid, alone)


@pytest.mark.full
def test_stopped_and_killed_processes_of_a_grid_go_on(alone, axes, tmp_path):
  grid, flag = tmp_path / "grid", f"--grid={';'.join(axes)}"
  stopped = Pair(grid, flag)
  stopped.wait_for("stage edge")
  for process in stopped.processes:
    process.send_signal(signal.SIGTERM)
  first, _ = stopped.end()
  assert first.status == 143, first.error
  killed = Pair(grid, flag)
  killed.wait_for("stage cloud")
  killed.processes[1].kill()
  assert killed.end()[0].status not in (0, -signal.SIGKILL)
  assert read_json(grid / "grid.json").get("best") is None
  assert [ended.status for ended in Pair(grid, flag).end()] == [0, 0]
  check(grid, alone)


def test_processes_of_different_grids_end_in_one_line(tmp_path):
  grid = tmp_path / "grid"
  pair = Pair(grid, "--grid=seed=0,1", each=((), ("--config.grid.best_by=main_only",)))
  for ended in pair.end():
    assert ended.status == 2
    assert ended.error == (
      "error: process 1 has other grid than process 0, different in best_by; accepted: the same in "
      "every process\n"
    )
  assert not grid.exists()
