"""Runs that are ended from outside, as real processes, and the same command again."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from meanet_jax.errors import TrainingStoppedError, UserError
from meanet_jax.runs.checkpoints import finished_step, read_arrays
from meanet_jax.training.train import train
from tests.experiments import TINY_FILE
from tests.forked_commands import run_command, start_command

STAGES = ("main", "edge", "cloud")
# A checkpoint only every five epochs, so that a stop lands between two.
LONG = (
  "--config.stages.main.epochs=30",
  "--config.logging.checkpoint_every_epochs=5",
  "--config.stages.main.ema_decay=0.9",
  "--config.stages.main.schedule=one_cycle",
  "--config.logging.every_steps=7",
)


def command(workdir: Path, *flags: str) -> list[str]:
  config = workdir.with_name("tiny.py")
  config.write_text(TINY_FILE)
  return ["train.py", f"--config={config}", f"--workdir={workdir}", *flags]


def finish(workdir: Path, *flags: str) -> subprocess.CompletedProcess:
  return run_command(*command(workdir, *flags))


def logged(workdir: Path) -> int:
  path = workdir / "metrics.jsonl"
  return path.read_text().count("\n") if path.exists() else 0


def assert_same_run(one: Path, other: Path) -> None:
  """Parameters, statistics, optimiser state, averages and metrics, bit for bit."""
  for stage in STAGES:
    steps = [finished_step(run / "checkpoints" / stage) for run in (one, other)]
    assert steps[0] == steps[1]
    ours, theirs = (
      read_arrays(run / "checkpoints" / stage / str(steps[0])) for run in (one, other)
    )
    assert ours.keys() == theirs.keys()
    assert any("opt_state" in name for name in ours)
    for name, value in ours.items():
      assert value.dtype == theirs[name].dtype
      np.testing.assert_array_equal(value, theirs[name], err_msg=f"{stage} {name}")
  assert (one / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
  """A run of the command with `LONG` that nothing stopped."""
  workdir = tmp_path_factory.mktemp("whole") / "run"
  assert finish(workdir, *LONG).returncode == 0
  return workdir


def test_ctrl_c_saves_and_the_same_command_goes_on_bit_for_bit(whole: Path, tmp_path: Path):
  stopped = tmp_path / "stopped"
  process = start_command(*command(stopped, *LONG))
  while not logged(stopped):
    assert process.poll() is None
    time.sleep(0.005)
  process.send_signal(signal.SIGINT)
  _, errors = process.communicate()
  assert process.returncode == 130, errors
  found = re.fullmatch(
    r"error: stopped by SIGINT after step (\d+) of \d+ of stage main; a checkpoint holds it, "
    r"and the same command goes on from there\n",
    errors,
  )
  assert found, errors
  assert finished_step(stopped / "checkpoints" / "main") == int(found[1])
  assert finish(stopped, *LONG).returncode == 0
  assert_same_run(stopped, whole)
  lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
  validated = [line for line in lines if line["stage"] == "main" and "validation_accuracy" in line]
  assert len(validated) == 6
  best = max(validated, key=lambda line: (line["validation_accuracy"], line["step"]))
  newest = {line["step"] for line in validated[-2:]}
  kept = {int(path.name) for path in (whole / "checkpoints" / "main").iterdir()}
  assert kept == newest | {best["step"]}


@pytest.mark.full
def test_a_full_disk_ends_in_one_line_and_the_same_command_goes_on(tmp_path: Path):
  small, run = tmp_path / "small", tmp_path / "small" / "run"
  small.mkdir()
  mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(small)]
  if subprocess.run(mount, capture_output=True).returncode:
    pytest.skip("this user cannot mount a small file system")
  flags = ("--config.logging.keep=100", "--config.stages.main.epochs=20")
  try:
    ended = finish(run, *flags)
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr == (
      f"error: the disk of {run} is full and the run stopped; earlier checkpoints are complete; "
      "free some space and run the same command again, which goes on from the last of them\n"
    )
    kept = finished_step(run / "checkpoints" / "main")
    assert kept
    names = sorted(path.name for path in (run / "checkpoints" / "main").iterdir())
    assert all(name.isdigit() for name in names), names
    subprocess.run(["mount", "-o", "remount,size=64m", str(small)], check=True)
    before = logged(run)
    again = finish(run, *flags)
    assert again.returncode == 0, again.stderr
    assert "failed verification" not in again.stdout
    assert logged(run) > before
    complete = tmp_path / "complete"
    assert finish(complete, *flags).returncode == 0
    assert_same_run(run, complete)
  finally:
    subprocess.run(["umount", str(small)], check=True)


def test_a_corrupt_newest_checkpoint_is_trained_again_bit_for_bit(
  finished_run, tiny, printed, tmp_path
):
  """Of a finished stage, with stages after it that stood on it."""
  run = tmp_path / "run"
  shutil.copytree(finished_run.path, run)
  path = run / "checkpoints" / "edge"
  newest = path / str(finished_step(path))
  manifest = newest / "default" / "manifest.ocdbt"
  manifest.write_bytes(manifest.read_bytes()[:-1])
  train(tiny, run)
  said = printed()
  line = f"checkpoint {newest} failed verification (default/manifest.ocdbt is not what was written)"
  assert said.count("failed verification") == said.count(line) == 1
  assert "stage main: already finished" in said
  assert "stage edge: already finished" not in said
  for stage in STAGES:
    step = finished_step(finished_run.checkpoints_path(stage))
    ours, theirs = (
      read_arrays(where / "checkpoints" / stage / str(step)) for where in (run, finished_run.path)
    )
    np.testing.assert_equal(ours, theirs)
  lines = [
    path.read_text().splitlines() for path in (run / "metrics.jsonl", finished_run.metrics_path)
  ]
  assert sorted(lines[0]) == sorted(lines[1])  # those of the edge stage are written last


def test_a_disk_full_from_the_beginning_ends_in_one_line_with_nothing_half_written(
  tiny, tmp_path, monkeypatch
):
  """It fills up at every file that is written before the first stage."""
  fsync = os.fsync
  for number, names in enumerate(([], ["environment.json"], ["config.json", "environment.json"])):
    run, written = tmp_path / str(number), iter(range(number))

    def fill(descriptor: int, written=written) -> None:
      if next(written, None) is None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
      fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fill)
    with pytest.raises(UserError, match=f"^the disk of {run} is full and the run stopped; "):
      train(tiny, run)
    assert sorted(path.name for path in run.iterdir()) == names


def test_stopped_after_every_step_a_run_is_still_the_same(finished_run, tiny, tmp_path):
  for stop in range(1, 4):
    asked = iter([None, signal.SIGHUP])  # before the stage main; after its next step
    with pytest.raises(TrainingStoppedError, match=rf"by SIGHUP after step {stop} of \d+ of"):
      train(tiny, tmp_path, stop=lambda asked=asked: next(asked))
  with pytest.raises(TrainingStoppedError, match="by SIGINT before stage main; the same command"):
    train(tiny, tmp_path, stop=lambda: signal.SIGINT)
  train(tiny, tmp_path)
  assert_same_run(tmp_path, finished_run.path)
