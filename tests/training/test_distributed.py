"""Two real processes of two devices each, on loopback, through train.py."""

import json
import re
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from meanet_jax.runs.checkpoints import finished_step, read_arrays
from meanet_jax.runs.directory import read_json
from tests.devices import forced_devices
from tests.forked_commands import Running, start_command
from tests.ports import free_address
from tests.rounding import OF_TINY_STEPS
from tests.training.test_stopping import STAGES, assert_same_run, command

HEARTBEAT = "--heartbeat_seconds=10"
GLOO = re.compile(r"\[Gloo\]| peer ranks")


class Pair:
  """Both processes of a run; `each` holds the flags of one alone."""

  def __init__(self, workdir: Path, *flags: str, each: Sequence[Sequence[str]] = ((), ())):
    address = free_address()
    shared = ("--distributed", f"--coordinator={address}", "--num_processes=2", HEARTBEAT, *flags)
    self.processes = [
      start(2, workdir, *shared, f"--process_id={number}", *own) for number, own in enumerate(each)
    ]

  def wait_for(self, text: str) -> None:
    """Until process 0 says it."""
    assert any(text in line for line in self.processes[0].lines())

  def end(self) -> tuple["Ended", "Ended"]:
    one, other = (Ended.of(process) for process in self.processes)
    return one, other


class Ended(NamedTuple):
  status: int
  out: str
  error: str

  @classmethod
  def of(cls, process: Running) -> "Ended":
    out, error = process.communicate()
    # Gloo, which is XLA's way between processes on CPU, speaks for itself, from several threads.
    out = "".join(line for line in out.splitlines(True) if not GLOO.search(line))
    return cls(process.returncode, out, error)


def start(devices: int, workdir: Path, *flags: str) -> Running:
  return start_command(*command(workdir, *flags), env=forced_devices(devices))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
  """A run of two processes that nothing stopped."""
  workdir = tmp_path_factory.mktemp("two") / "run"
  first, second = Pair(workdir).end()
  assert (first.status, second.status) == (0, 0), (first.error, second.error)
  assert "4 device(s), 2 process(es)" in first.out
  assert (second.out, first.error, second.error) == ("", "", "")
  return workdir


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
  """A run of one process with as many devices."""
  workdir = tmp_path_factory.mktemp("one") / "run"
  ended = Ended.of(start(4, workdir))
  assert ended.status == 0, ended.error
  return workdir


def test_two_processes_learn_what_one_with_as_many_devices_does(whole, alone):
  """All stages. Gradients are added in another order, so float32 rounding differs."""
  for stage in STAGES:
    paths = [run / "checkpoints" / stage for run in (alone, whole)]
    step = finished_step(paths[0])
    one, two = (read_arrays(path / str(step)) for path in paths)
    assert one.keys() == two.keys()
    for name, value in one.items():
      worst = OF_TINY_STEPS * max(np.abs(value).max(), 1e-2)
      np.testing.assert_allclose(two[name], value, rtol=0, atol=worst, err_msg=f"{stage} {name}")
  hard = [read_json(run / "hard_classes.json") for run in (alone, whole)]
  assert hard[0] == hard[1]
  lines = [
    [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for run in (alone, whole)
  ]
  for one, two in zip(*lines, strict=True):
    assert one.keys() == two.keys()
    for name, value in one.items():
      assert two[name] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-4))


@pytest.mark.full
def test_stopped_and_killed_they_go_on_bit_for_bit(whole, tmp_path):
  run = tmp_path / "run"
  stopped = Pair(run)
  stopped.wait_for("stage main")
  stopped.processes[1].send_signal(signal.SIGHUP)  # the other hears of it
  for ended, number in zip(stopped.end(), (signal.SIGTERM, signal.SIGHUP), strict=True):
    assert ended.status == 128 + number, ended.error
    step = finished_step(run / "checkpoints" / "main")
    assert ended.error.splitlines()[-1].startswith(
      f"error: stopped by {number.name} after step {step} of 22 of stage main; a checkpoint holds"
    )
  killed = Pair(run)
  killed.wait_for("stage edge")
  killed.processes[1].kill()
  assert killed.end()[0].status not in (0, -signal.SIGKILL)
  assert [ended.status for ended in Pair(run).end()] == [0, 0]
  assert_same_run(run, whole)


@pytest.mark.parametrize(
  ("number", "flag", "line"),
  [
    (0, "--config.seed=-1", "configuration field 'seed' is -1; accepted: 0 to inf"),
    (1, "--config.nosuch=1", "configuration field 'nosuch' does not exist"),
    (1, "--nosuch", "Unknown command line flag 'nosuch'"),
  ],
)
def test_what_is_wrong_in_one_ends_both_with_its_line(tmp_path, number, flag, line):
  ended = Pair(tmp_path / "run", each=[[flag] * (number == each) for each in (0, 1)]).end()
  for each, one in enumerate(ended):
    assert one.status == 2, one.error
    (said,) = one.error.splitlines()
    assert said.startswith(f"error: {line}" if each == number else f"error: process {number} ended")
    assert line in said
  assert not (tmp_path / "run").exists()


def test_a_process_alone_ends_with_one_line(tmp_path):
  address = free_address()
  where = ("--distributed", f"--coordinator={address}", "--num_processes=3", "--start_seconds=1")
  alone = Ended.of(start(1, tmp_path / "run", *where, "--process_id=0"))
  assert (alone.status, alone.error) == (
    2,
    f"error: 2 of 3 processes did not come to {address} within 1 s: --process_id 1, 2; accepted: "
    "all, started within --start_seconds\n",
  )
