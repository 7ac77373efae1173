"""The script for an accelerator, rehearsed on CPU."""

import importlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from benchmarks.accelerator import supervise
from benchmarks.accelerator.__main__ import add_flags, find, run, run_here
from benchmarks.accelerator.parts import BY_NAME, PARTS
from benchmarks.accelerator.record import PartContext, Record
from benchmarks.accelerator.report import text, write_report
from benchmarks.accelerator.supervise import Plan, run_limited, run_parts
from benchmarks.accelerator.targets import targets
from benchmarks.accelerator.wheels import closure
from meanet_jax.commands.flags import Parser
from meanet_jax.errors import UserError


@pytest.fixture(autouse=True)
def flax_promotes() -> Iterator[None]:
  with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
    yield


def flags(*arguments: str):
  parser = Parser("accelerator", None)
  add_flags(parser)
  return parser.parse(arguments)


def rows(out: Path, part: str) -> list[dict]:
  return json.loads((out / f"{part}.json").read_text())["rows"]


@pytest.mark.parametrize(
  "part",
  ["early_exit", *(pytest.param(part, marks=pytest.mark.full) for part in ("sweeps", "grids"))],
)
def test_rehearsal_in_this_process(tmp_path, part):
  run_here(BY_NAME[part], tmp_path, rehearsal=True)
  found = rows(tmp_path, part)
  assert found
  # Nothing a part writes lacks a table.
  page = text({part: json.loads((tmp_path / f"{part}.json").read_text())}, [])
  assert "numbers say nothing about a card" in page
  assert page.count("\n|") >= len(found) + 2
  assert [path.name for path in tmp_path.iterdir()] == [f"{part}.json"]  # and no scratch


def test_every_part_is_a_module():
  for part in PARTS:
    assert callable(importlib.import_module(f"benchmarks.accelerator.{part.name}").run)


def test_a_part_without_its_modules_says_so(tmp_path, monkeypatch):
  pytorch = importlib.import_module("benchmarks.accelerator.pytorch")
  monkeypatch.setattr(pytorch, "MODULES", ("no_such_module",))
  pytorch.run(PartContext(Record(tmp_path / "pytorch.json", "pytorch", True), True, tmp_path))
  assert rows(tmp_path, "pytorch") == [{"kind": "missing", "module": "no_such_module"}]


def test_flags_have_dashes_or_underscores_and_parts_names():
  assert flags("--budget_seconds", "480").budget_seconds == 480
  assert flags("--budget-seconds=480").budget_seconds == 480
  assert find("early-exit") is find("early_exit")
  with pytest.raises(UserError, match=r"flag --only is 'swep'; .*sweeps"):
    find("swep")
  with pytest.raises(UserError, match="flag --out is missing"):
    run(flags("--rehearse"))


def test_a_time_limit_ends_everything_that_a_part_started(tmp_path):
  log = tmp_path / "log"
  begun = time.monotonic()
  assert run_limited(["sh", "-c", "sleep 60 & echo $!; wait"], 2, log) == "cut off"
  assert time.monotonic() - begun < 50
  pid = int(log.read_text())
  while _runs(pid):  # until init has noticed
    assert time.monotonic() - begun < 50
    time.sleep(0.01)


def _runs(pid: int) -> bool:
  try:
    os.kill(pid, 0)
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
  except (ProcessLookupError, FileNotFoundError):
    return False


def test_how_a_part_failed(tmp_path):
  script = "import sys; print('one'); sys.exit('out of memory')"
  ended = run_limited([sys.executable, "-c", script], 60, tmp_path / "log")
  assert ended == "failed (out of memory)"
  assert run_limited([sys.executable, "-c", "pass"], 60, tmp_path / "log") == "finished"


def test_each_part_is_limited_and_none_begins_beyond_the_budget(tmp_path, monkeypatch):
  now, limits = [0.0], []
  monkeypatch.setattr(supervise.time, "monotonic", lambda: now[0])

  def limited(command, limit, log, env):
    limits.append(limit)
    now[0] += limit
    name = command[3].partition("=")[2]
    Record(tmp_path / f"{name}.json", name, False).add(kind="demo", seconds=1.0)
    return "cut off"

  monkeypatch.setattr(supervise, "run_limited", limited)
  first, second, third = PARTS[:3]
  budget = first.seconds + 10
  endings = run_parts(Plan([first, second, third], budget, tmp_path, False))
  assert limits == [first.seconds, 10]
  assert endings[third.name] == "not begun: the budget is used up"
  found = json.loads((tmp_path / f"{second.name}.json").read_text())
  assert found["status"] == "cut off after 10 s"
  assert found["rows"] == [{"kind": "demo", "seconds": 1.0}]
  assert run(flags("--out", str(tmp_path), "--only", first.name)) == 1


def test_report_of_a_call_that_was_cut_off(tmp_path):
  page, out = tmp_path / "page.md", tmp_path / "out"
  out.mkdir()
  write_report(out, page)
  assert "Not yet measured" in page.read_text()
  record = Record(out / "training.json", "training", False)
  step = {"kind": "step", "network": "ResNet-18", "stage": "main", "batch": 256}
  for name, speed in (("ours", 3000.0), ("plain Flax step", 2900.0)):
    record.add(
      **step, dtype="bfloat16", implementation=name, images_per_second=speed, share_of_peak=None
    )
  write_report(out, page)
  text = page.read_text()
  assert "cut off" in text
  assert "Not measured." in text  # of the other parts
  assert "| ResNet-18 | main | 256 | bfloat16 | ours | 3,000 | - |" in text
  assert "over the plain Flax step's | at least 1 | 1.03 |" in text
  assert "![page training](page_training.png)" in text
  assert (tmp_path / "page_training.png").stat().st_size > 1000
  (out / "training.json").write_text("{}")
  with pytest.raises(UserError, match=r"training\.json is no result"):
    write_report(out, page)
  with pytest.raises(UserError, match="which is no directory"):
    write_report(tmp_path / "none", page)


def test_the_worst_of_several_rows_meets_a_target_or_not():
  loops = [
    {"kind": "edge", "network": "ResNet-32", "step_over_parts": ratio} for ratio in (1.01, 1.2)
  ]
  found = {row["target"]: row["reached"] for row in targets(loops)}
  assert found["ResNet-32: the edge stage over its parts"] == "1.2, missed"
  assert found["ResNet-18: the edge stage over its parts"] == "not measured"


def test_wheels_are_what_is_needed_and_not_there():
  requires = {
    "a": ["b>=1", "c; extra == 'more'", "d; python_version < '3'"],
    "b": [],
    "c": ["A_b"],
    "a-b": [],
  }
  assert closure(["a"], requires.__getitem__) == {"a", "b"}
  assert closure(["a[more]"], requires.__getitem__) == {"a", "b", "c", "a-b"}
