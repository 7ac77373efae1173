"""Two real processes of two devices each, on loopback, through train.py."""

import contextlib
import json
import re
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from meanet_jax.files import read_json
from meanet_jax.runs.checkpoints import finished_step, read_arrays
from tests.devices import forced_devices
from tests.forked_commands import Running, start_command
from tests.ports import free_address
from tests.rounding import OF_TINY_STEPS
from tests.training.test_stopping import STAGES, assert_same_run, command

HEARTBEAT = "--heartbeat-seconds=10"
# What Gloo, XLA's way between processes on CPU, says by itself of a connection. Several threads
# write its pieces, so any of them may stand on a line of its own.
GLOO = re.compile(
  r"(\[Gloo\] Rank | is connected to | peer ranks\. |Expected number of connected peer ranks is : "
  r"|\d+|\s)+"
)


class Pair:
  """Both processes of a run; `each` holds the flags of one alone."""

  def __init__(self, workdir: Path, *flags: str, each: Sequence[Sequence[str]] = ((), ())):
    address = free_address()
    shared = ("--distributed", f"--coordinator={address}", "--num-processes=2", HEARTBEAT, *flags)
    self.processes = [
      start(2, workdir, *shared, f"--process-id={number}", *own) for number, own in enumerate(each)
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
    out = "".join(line for line in out.splitlines(True) if not GLOO.fullmatch(line))
    return cls(process.returncode, out, error)


def start(devices: int, workdir: Path, *flags: str) -> Running:
  return start_command(*command(workdir, *flags), env=forced_devices(devices))


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
  """A run of two processes that nothing stopped."""
  workdir = tmp_path_factory.mktemp("two") / "run"
  first, second = Pair(workdir).end()
  assert (first.status, second.status) == (0, 0), (first.error, second.error)
  assert "4 device(s), 2 process(es)" in first.out
  assert (second.out, first.error, second.error) == ("", "", "")
  return workdir


def test_two_processes_learn_what_one_device_does(complete, finished_run):
  """All stages. Gradients are added in another order, so float32 rounding differs."""
  for stage in STAGES:
    paths = [run / "checkpoints" / stage for run in (finished_run.path, complete)]
    step = finished_step(paths[0])
    one, two = (read_arrays(path / str(step)) for path in paths)
    assert one.keys() == two.keys()
    for name, value in one.items():
      worst = OF_TINY_STEPS * max(np.abs(value).max(), 1e-2)
      np.testing.assert_allclose(two[name], value, rtol=0, atol=worst, err_msg=f"{stage} {name}")
  hard = [read_json(run / "hard_classes.json") for run in (finished_run.path, complete)]
  assert hard[0] == hard[1]
  lines = [
    [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for run in (finished_run.path, complete)
  ]
  for one, two in zip(*lines, strict=True):
    assert one.keys() == two.keys()
    for name, value in one.items():
      assert two[name] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-4))


@pytest.mark.full
def test_stopped_and_killed_they_go_on_bit_for_bit(complete, tmp_path):
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
  assert_same_run(run, complete)


@pytest.mark.parametrize(
  ("number", "flag", "line"),
  [
    (0, "--config.seed=-1", "configuration field 'seed' is -1; accepted: at least 0"),
    (1, "--nosuch", "flag --nosuch does not exist"),
  ],
)
def test_what_is_wrong_in_one_is_its_line_and_the_other_waits_in_vain(tmp_path, number, flag, line):
  each = [[flag] * (number == process) for process in (0, 1)]
  ended = Pair(tmp_path / "run", "--start-seconds=1", each=each).end()
  for process, one in enumerate(ended):
    assert one.status == 2, one.error
    (said,) = one.error.splitlines()
    assert said.startswith(f"error: {line}" if process == number else f"error: process {process}")
  assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
  ("own", "line"),
  [
    (
      ["--config.seed=1"],
      "process 1 has other configuration than process 0, different in seed (0 -> 1); accepted: the "
      "same in every process",
    ),
    (
      ["--num-processes=3"],
      "flag --num-processes is 3 in process 1 and 2 in process 0; accepted: the same in every "
      "process",
    ),
  ],
)
def test_what_differs_between_processes_ends_both_with_one_line(tmp_path, own, line):
  for ended in Pair(tmp_path / "run", each=((), own)).end():
    assert (ended.status, ended.error) == (2, f"error: {line}\n")
  assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("flags", [(), ("--grid=seed=0,1",)])
def test_another_workdir_ends_both_with_one_line(tmp_path, flags):
  other = tmp_path / "other"
  for ended in Pair(tmp_path / "run", *flags, each=((), [f"--workdir={other}"])).end():
    assert (ended.status, ended.error) == (
      2,
      f"error: process 1 has --workdir {other} and process 0 has {tmp_path / 'run'}; accepted: the "
      "same in every process\n",
    )
  assert not other.exists()
  assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", [0, 1])
def test_a_process_alone_ends_with_one_line(tmp_path, number):
  address = free_address()
  where = ("--distributed", f"--coordinator={address}", "--num-processes=3", "--start-seconds=1")
  alone = Ended.of(start(1, tmp_path / "run", *where, f"--process-id={number}"))
  assert (alone.status, alone.error) == (
    2,
    f"error: process {number} of 3: not all processes connected to {address} within 1 s; start all "
    "of them within --start-seconds, with process 0's address as --coordinator and each with its "
    "own --process-id\n",
  )
  assert not (tmp_path / "run").exists()


def test_a_port_that_is_in_use_is_named(tmp_path):
  with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as other:
    address = f"127.0.0.1:{other.getsockname()[1]}"
    where = ("--distributed", f"--coordinator={address}", "--num-processes=2", "--process-id=0")
    alone = Ended.of(start(1, tmp_path / "run", *where))
  port = address.partition(":")[2]
  assert alone == Ended(
    2,
    "",
    f"error: flag --coordinator is {address}: process 0 cannot listen on port {port} (Address "
    "already in use); give a port that is free on its host\n",
  )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_process_that_waits_for_others(tmp_path, number):
  address = free_address()
  where = ("--distributed", f"--coordinator={address}", "--num-processes=2", "--process-id=0")
  alone = start(1, tmp_path / "run", *where)
  host, _, port = address.partition(":")
  while alone.poll() is None:
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection((host, int(port))):
      break
    time.sleep(0.01)
  alone.send_signal(number)
  assert Ended.of(alone) == Ended(-number, "", "")
