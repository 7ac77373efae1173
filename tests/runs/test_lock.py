"""One process at a time: a second one is refused, with the name of the first."""

import errno
import fcntl
import json
import os
import re
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from meanet_jax.config.grid import GridConfig
from meanet_jax.data.sources import load
from meanet_jax.errors import UserError
from meanet_jax.evaluation import evaluate as evaluation
from meanet_jax.files import write_json
from meanet_jax.grid import run as grid_run
from meanet_jax.grid.context import GridContext
from meanet_jax.grid.directory import GridDirectory
from meanet_jax.grid.points import expand
from meanet_jax.grid.train import train_points
from meanet_jax.report.compare import compare
from meanet_jax.report.write import evaluate_run
from meanet_jax.runs import lock as module
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.runs.lock import LOCK, held, refuse_if_held
from meanet_jax.tflite.source import from_run, without_dataset
from meanet_jax.training import start
from meanet_jax.training.train import train

ROOT = Path(__file__).parent.parent.parent
GRID = GridConfig(axes=("seed=0,1",))
IN_USE = "is in use by"


def contents(directory):
  files = (path for path in directory.rglob("*"))
  return {
    str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
    for path in files
  }


def test_a_second_one_is_told_who_is_there_and_changes_nothing(tmp_path):
  with held(tmp_path):
    before = contents(tmp_path)
    for refused in (lambda: held(tmp_path).__enter__(), lambda: refuse_if_held(tmp_path)):
      with pytest.raises(UserError) as caught:
        refused()
      who = f"(process {os.getpid()} on host {socket.gethostname()}, since "
      assert re.fullmatch(
        rf"workdir {re.escape(str(tmp_path))} is in use by \S+ {re.escape(who)}"
        r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d\); "
        "wait until it ends, or use another directory",
        str(caught.value),
      )
    assert contents(tmp_path) == before
  assert not list(tmp_path.iterdir())
  refuse_if_held(tmp_path)
  with held(tmp_path):
    pass


def test_a_directory_is_made_or_refused(tmp_path):
  with held(tmp_path / "a" / "b"):
    pass
  assert (tmp_path / "a" / "b").is_dir()
  (tmp_path / "file").touch()
  with pytest.raises(UserError, match=r"--out .*file cannot be written: File exists; ac"):
    held(tmp_path / "file", "--out").__enter__()
  refuse_if_held(tmp_path / "nowhere")
  assert not (tmp_path / "nowhere").exists()


HOLDS = """
import sys, time
from pathlib import Path
from meanet_jax.runs.lock import held
with held(Path(sys.argv[1])):
  print("held", flush=True)
  time.sleep(600)
"""


def test_another_process_holds_until_it_is_gone_however_it_went(tmp_path):
  process = subprocess.Popen(
    [sys.executable, "-c", HOLDS, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
  )
  assert process.stdout is not None
  with process:
    assert process.stdout.readline() == "held\n"
    with pytest.raises(UserError, match=rf"\(process {process.pid} on host"):
      held(tmp_path).__enter__()
    process.kill()
  assert (tmp_path / LOCK).exists()
  refuse_if_held(tmp_path)
  with held(tmp_path):
    assert json.loads((tmp_path / LOCK).read_text())["process"] == os.getpid()


def test_one_that_has_not_said_who_it_is_is_another_process(tmp_path):
  with held(tmp_path):
    (tmp_path / LOCK).write_text("")
    with pytest.raises(UserError, match="is in use by another process; wait until it ends"):
      refuse_if_held(tmp_path)


def test_a_lock_that_was_removed_while_it_was_opened_is_made_anew(tmp_path, monkeypatch):
  flock, removed = fcntl.flock, []

  def removing(descriptor, kind):
    if not removed:
      removed.append((tmp_path / LOCK).unlink())
    flock(descriptor, kind)

  monkeypatch.setattr(fcntl, "flock", removing)
  with held(tmp_path), pytest.raises(UserError, match=IN_USE):
    refuse_if_held(tmp_path)


@pytest.mark.parametrize(
  ("changed", "lives"),
  [
    ({}, True),
    ({"start_ticks": 1}, False),  # its number is another's now
    ({"process": 2**22 + 1}, False),  # nobody's: above the kernel's largest
    ({"boot": "another host's, or before this one began"}, False),
    (None, False),
  ],
)
def test_without_locks_the_holder_is_looked_for(tmp_path, monkeypatch, changed, lives):
  def no_locks(descriptor, kind):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

  monkeypatch.setattr(fcntl, "flock", no_locks)
  with held(tmp_path):
    written = json.loads((tmp_path / LOCK).read_text())
    (tmp_path / LOCK).write_text("{" if changed is None else json.dumps(written | changed))
    if lives:
      with pytest.raises(UserError, match=IN_USE):
        held(tmp_path).__enter__()
    else:
      with held(tmp_path):
        pass


def test_when_a_process_began_is_read_past_its_name(monkeypatch, tmp_path):
  stat = "7 (a ) b (c) S " + " ".join(str(n) for n in range(4, 53))
  monkeypatch.setattr(module, "Path", lambda _: tmp_path / "stat")
  (tmp_path / "stat").write_text(stat)
  assert module._start_ticks(7) == 22


def test_a_second_training_ends_before_it_reads_data(tiny, monkeypatch, tmp_path):
  for place in (start, grid_run):
    monkeypatch.setattr(place, "load", lambda *_: pytest.fail("data were read"))
  with held(tmp_path):
    before = contents(tmp_path)
    with pytest.raises(UserError, match=IN_USE):
      train(tiny, tmp_path)
    with pytest.raises(UserError, match=IN_USE):
      grid_run.train_grid(tiny, GRID, tmp_path)
    assert contents(tmp_path) == before


def test_a_second_training_that_found_nobody_there_is_refused_at_its_first_write(
  tiny, monkeypatch, tmp_path
):
  monkeypatch.setattr(start, "refuse_if_held", lambda _: None)
  with held(tmp_path), ExitStack() as stack:
    before = contents(tmp_path)
    with pytest.raises(UserError, match=IN_USE):
      train(tiny, tmp_path)
    with pytest.raises(UserError, match=IN_USE):
      GridDirectory(tmp_path).begin(tiny, GRID, [], stack)
    assert contents(tmp_path) == before


def test_a_grid_is_held_and_an_old_one_too(tiny, tmp_path):
  for _ in range(2):
    with ExitStack() as stack:
      GridDirectory(tmp_path).begin(tiny, GRID, [], stack)
      with pytest.raises(UserError, match=IN_USE):
        refuse_if_held(tmp_path)
  refuse_if_held(tmp_path)


def test_a_point_of_a_grid_that_is_trained_by_itself_is_refused(tiny, tmp_path):
  points = expand(GRID.axes, tiny, 2)
  dataset = load(tiny.dataset)
  with held(tmp_path / "points" / "001"):
    with pytest.raises(UserError, match=r"workdir .*points/001 is in use by"):
      train_points(points, dataset, GridContext(tmp_path, GRID))
    refuse_if_held(tmp_path / "points" / "000")
  assert not any((tmp_path / "points").glob("*/*"))


def test_training_evaluation_and_export_of_one_run_exclude_each_other(tiny, tmp_path):
  run = RunDirectory.create(tmp_path, tiny)
  with held(run.path):
    before = contents(tmp_path)
    for begin in (lambda: evaluate_run(tmp_path), lambda: from_run(tmp_path)):
      with pytest.raises(UserError, match=IN_USE):
        begin()
    assert contents(tmp_path) == before


def test_evaluation_holds_the_run(tiny, monkeypatch, tmp_path):
  RunDirectory.create(tmp_path, tiny)
  monkeypatch.setattr(evaluation, "load", lambda *_: refuse_if_held(tmp_path))
  with pytest.raises(UserError, match=IN_USE):
    evaluate_run(tmp_path)
  refuse_if_held(tmp_path)


def test_where_several_runs_are_compared_and_an_export_goes_is_held(tiny, tmp_path):
  # Here, because few tests need the converter and the quantiser, which take a second to import.
  from meanet_jax.tflite.export import Options, export

  runs = [tmp_path / "a", tmp_path / "b"]
  for path in runs:
    summary = {"dataset": "digits", "num_classes": 10, "num_examples": 629, "systems": {}}
    summary["constraints"] = {}
    (RunDirectory.create(path, tiny).path / "eval").mkdir()
    write_json(path / "eval" / "summary.json", summary)
  out = tmp_path / "out"
  with held(out):
    with pytest.raises(UserError, match=r"output .*out is in use by"):
      compare(list(map(str, runs)), out)
    with pytest.raises(UserError, match=r"--out .*out is in use by"):
      export(without_dataset(tiny, {}), out, Options())
    assert [path.name for path in out.iterdir()] == [LOCK]
