"""Evaluations with a name: beside each other, and nothing of the run changes."""

import argparse
import dataclasses
import json
import re
import shutil
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import meanet_jax as mea
from meanet_jax import api
from meanet_jax.commands import evaluate, summary
from meanet_jax.commands import export as export_command
from meanet_jax.commands.evaluations import run_evaluations, show_evaluations
from meanet_jax.commands.flags import Parser
from meanet_jax.config.constraints import Constraints
from meanet_jax.cost.changes import CostChanges
from meanet_jax.cost.device import Block, DeviceProfile
from meanet_jax.errors import UserError
from meanet_jax.evaluation import collect
from meanet_jax.evaluation.records_file import load_records
from meanet_jax.files import read_json
from meanet_jax.report import compare, write
from meanet_jax.report.write import evaluate_run
from meanet_jax.runs.directory import RunDirectory
from tests.named import DEVICE


def contents(directory: Path) -> dict[str, bytes]:
  files = sorted(path for path in directory.rglob("*") if path.is_file())
  return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def test_what_the_run_and_its_first_evaluation_hold_stays(named_run, evaluated_run):
  before, after = contents(evaluated_run), contents(named_run)
  new = {name for name in after if name not in before}
  assert {name: after[name] for name in before} == before
  files = {name for name in before if re.fullmatch(r"eval/[^/]+", name)}
  assert {name for name in files if name.startswith("eval/records")} != set()
  written = {name for name in files if not name.startswith("eval/records")}
  for name in ("tight", "slow", "pi"):
    assert {n for n in new if f"/{name}/" in n} == {
      file.replace("eval/", f"eval/{name}/") for file in written
    }


def test_what_was_asked_is_in_the_evaluations_own_summary(named_run):
  own = read_json(named_run / "config.json")["cost"]
  tight = read_json(named_run / "eval/tight/summary.json")
  assert tight["constraints"] == Constraints(max_offload=0.05).to_json()
  assert (tight["cost"], tight["profile"]) == (own, None)
  slow = read_json(named_run / "eval/slow/summary.json")
  assert slow["cost"] == own | {"uplink_mbps": 1.0, "radio": "lte"}
  pi = read_json(named_run / "eval/pi/summary.json")
  assert (pi["profile"]["name"], pi["profile"]["digest"]) == ("pi", DEVICE.digest)
  assert pi["systems"]["main_only"]["latency_ms"] == 12.0
  assert pi["systems"]["main_only"]["energy_mj"] == 30.0
  page = (named_run / "eval/slow/report.html").read_text(encoding="utf-8")
  assert '<th scope="row">cost.radio</th><td>lte</td>' in page


def test_the_expected_figures_are_those_of_the_systems(named_run):
  for name in (None, "tight", "slow", "pi"):
    found = read_json(RunDirectory(named_run).evaluation_path(name) / "summary.json")
    meanet, test = found["systems"]["meanet"], found["expected"]["test"]
    for key in ("accuracy", "fraction", "bytes_up", "energy_mj", "latency_ms", "latency_p95_ms"):
      assert test[key] == pytest.approx(meanet[key], rel=1e-12)
    low, high = test["accuracy_interval"]
    assert low < test["accuracy"] < high
    validation = found["expected"]["validation"]
    limit = found["constraints"]["max_offload"]
    assert limit is None or validation["fraction"]["cloud"] <= limit


def test_records_that_are_not_the_runs_are_made_anew(evaluated_run, tmp_path, monkeypatch, said):
  run = tmp_path / "run"
  shutil.copytree(evaluated_run, run)
  original = (run / "eval/records.npz").read_bytes()
  kept = {
    name: load_records(run / f"eval/{file}.npz", None).logits
    for name, file in (("validation", "records_validation"), ("test", "records"))
  }
  ran = []

  def networks(*arguments):
    ran.append(arguments)
    return kept

  monkeypatch.setattr(collect, "_logits", networks)
  monkeypatch.setattr(write, "write_evaluation", lambda *_: None)  # its figures are not looked at
  (run / "eval/records.npz").write_bytes(original[:-100])
  evaluate_run(run, name="a")
  assert len(ran) == 1
  assert not any("reading records" in line for line in said)
  evaluate_run(run, name="b")
  assert len(ran) == 1
  assert any("reading records; no network runs" in line for line in said)
  evaluate_run(run, reuse_records=False, name="b")
  assert len(ran) == 2
  (run / "eval/records.npz").unlink()
  with pytest.raises(UserError, match="do not exist"):
    evaluate_run(run, reuse_records=True, name="c")
  assert not (run / "eval/c").exists()


def test_a_profile_of_another_network_is_refused(evaluated_run, tmp_path):
  run = tmp_path / "run"
  shutil.copytree(evaluated_run, run)
  before = contents(run)
  other = CostChanges(
    DeviceProfile("pi", "made up", "2026-01-01", Block(1.0, 1.0, macs=3), None, None, None)
  )
  with pytest.raises(UserError, match="pi was measured on another network: main has 3 MACs per im"):
    evaluate_run(run, costs=other, name="pi")
  other = CostChanges(dataclasses.replace(DEVICE, networks="0" * 64))
  with pytest.raises(
    UserError, match="pi was measured on an export of other networks: their SHA-256 is 0000"
  ):
    evaluate_run(run, costs=other, name="pi")
  assert contents(run) == before


def test_the_list_of_a_runs_evaluations(named_run):
  rows = run_evaluations(named_run)
  assert [row["name"] for row in rows] == [None, "pi", "slow", "tight"]
  assert [row["constraints"] for row in rows[2:]] == [{"max_latency_ms": 10}, {"max_offload": 0.05}]
  assert [row["cost"] for row in rows[2:]] == [{"radio": "lte", "uplink_mbps": 1.0}, {}]
  assert [row["device"] for row in rows] == [None, "pi", None, None]
  meanet = read_json(named_run / "eval/tight/summary.json")["systems"]["meanet"]
  assert (rows[3]["accuracy"], rows[3]["sent"]) == (meanet["accuracy"], meanet["fraction"]["cloud"])
  assert [row["unmet"] for row in rows] == [None] * 4
  for row in rows:
    path = RunDirectory(named_run).evaluation_path(row["name"]) / "summary.json"
    assert row["verdict"] == read_json(path)["verdict"]["system"]


def test_a_summary_that_is_none(named_run, tmp_path):
  run = tmp_path / "run"
  (run / "eval/bad").mkdir(parents=True)
  for file in ("config.json", "environment.json"):
    shutil.copy(named_run / file, run)
  for text in ("{}", "3", '{"systems": []}'):
    (run / "eval/bad/summary.json").write_text(text)
    with pytest.raises(UserError, match=r"bad/summary\.json is no summary of an evaluation: "):
      run_evaluations(run)
  asked = {"systems": {"meanet": {}}, "constraints": {"max_offload": "much"}}
  (run / "eval/bad/summary.json").write_text(json.dumps(asked))
  with pytest.raises(UserError, match=r"bad/summary.json: constraints.max_offload' is 'much'; acc"):
    run_evaluations(run)


def given(module: ModuleType, *arguments: str | Path) -> argparse.Namespace:
  parser = Parser("meanet", None)
  module.add_flags(parser)
  return parser.parse([str(argument) for argument in arguments])


def test_summary_lists_them(named_run, finished_run, capsys, printed):
  summary.run(given(summary, "--workdir", named_run, "--json"))
  assert json.loads(capsys.readouterr().out) == run_evaluations(named_run)
  show_evaluations(named_run, run_evaluations(named_run))
  rows = re.findall(
    r"^[^\w(]*(\(no name\)|pi|slow|tight) .* (yes|no)\b.*$", printed(), re.MULTILINE
  )
  assert rows == [(name, "yes") for name in ("(no name)", "pi", "slow", "tight")]
  show_evaluations(finished_run.path, run_evaluations(finished_run.path))
  assert "has no evaluation; meanet eval --workdir" in printed()
  show_evaluations("my runs/lr=[0.1]", [])
  assert "; meanet eval --workdir 'my runs/lr=[0.1]' makes one" in printed()
  for flags in (["--config", "digits"], ["--config.seed=3"]):
    with pytest.raises(UserError, match="--workdir and --config were both given; accepted: one"):
      summary.run(given(summary, "--workdir", named_run, *flags))


def test_of_several_runs_those_are_evaluated_that_are_not_of_what_is_asked(
  named_run, tmp_path, monkeypatch
):
  runs = [tmp_path / "a", tmp_path / "b"]
  for run in runs:
    shutil.copytree(named_run, run)
  evaluated: list[tuple] = []

  def evaluation(run, constraints, *, name, device, cost, reuse_records):
    evaluated.append((run.path.name, constraints.given(), name, device, dict(cost)))
    return SimpleNamespace(verdict=SimpleNamespace(system="meanet"))

  monkeypatch.setattr(api, "evaluate", evaluation)
  monkeypatch.setattr(compare, "compare", lambda *_: None)

  def asked(*flags: str | Path) -> tuple[int, list[tuple]]:
    evaluated.clear()
    workdirs = [part for run in runs for part in ("--workdir", run)]
    return evaluate.run(given(evaluate, *workdirs, *flags)), list(evaluated)

  for flags in ([], ["--name", "tight"], ["--name", "slow"], ["--name", "pi"]):
    assert asked(*flags) == (0, [])
  assert asked("--name", "tight", "--max-offload", "0.05") == (0, [])
  flags = ("--max-latency-ms=10", "--cost.uplink-mbps=1", "--cost.radio=lte")
  assert asked("--name", "slow", *flags) == (0, [])
  status, found = asked("--max-offload", "0.05")
  assert found == [(name, {"max_offload": 0.05}, None, None, {}) for name in ("a", "b")]
  own = mea.Run(runs[0]).config.evaluation.constraints.given()
  status, found = asked("--cost.uplink-mbps", "1")
  assert found == [(name, own, None, None, {"uplink_mbps": 1.0}) for name in ("a", "b")]
  # Other rules than those of the configuration now.
  config = read_json(runs[0] / "config.json")
  config["routing"]["criterion"] = "margin"
  (runs[0] / "config.json").write_text(json.dumps(config))
  assert asked()[1] == [("a", own, None, None, {})]
  ((*which, device, cost),) = asked("--name", "pi")[1]
  assert which == ["a", own, "pi"]
  assert (device, cost) == (DEVICE, read_json(runs[0] / "eval/pi/summary.json")["cost"])
  # A plain network that was trained since.
  config = read_json(runs[1] / "config.json")
  config["baselines"]["static"] = 1.0
  (runs[1] / "config.json").write_text(json.dumps(config))
  assert [name for name, *_ in asked()[1]] == ["a", "b"]
  config["baselines"]["static"] = 0.0
  (runs[1] / "config.json").write_text(json.dumps(config))
  # The status is that of the verdicts, whether or not an evaluation was made for them now.
  summary = read_json(runs[1] / "eval/summary.json")
  summary["verdict"]["system"] = None
  (runs[1] / "eval/summary.json").write_text(json.dumps(summary))
  status, found = asked()
  assert (status, len(found)) == (3, 1)


def test_wrong_flags_are_refused_before_anything_is_written(evaluated_run, tmp_path):
  before = contents(evaluated_run)
  nothing = tmp_path / "device.json"
  for flags, words in (
    (["--name", "a/b"], "the name of an evaluation is 'a/b'; accepted: up to 100"),
    (["--output", nothing], r"--output \S+ with one --workdir; accepted: with several, which are"),
    (["--name", "a", "--device", nothing], r"device profile \S+ cannot be read: No such file"),
  ):
    with pytest.raises(UserError, match=words):
      evaluate.run(given(evaluate, "--workdir", evaluated_run, *flags))
  out = tmp_path / "out"
  with pytest.raises(UserError, match="--operating-point with --config; accepted: --workdir"):
    export_command.run(
      given(export_command, "--config", "digits", "--out", out, "--operating-point", "a")
    )
  with pytest.raises(UserError, match="no evaluation 'a'; this run has none with a name"):
    export_command.run(
      given(export_command, "--workdir", evaluated_run, "--out", out, "--operating-point", "a")
    )
  assert not out.exists()
  assert contents(evaluated_run) == before


def test_a_named_evaluation_from_python(evaluated_run, tmp_path):
  shutil.copytree(evaluated_run, tmp_path / "run")
  device, run = tmp_path / "device.json", mea.Run(tmp_path / "run")
  device.write_text(json.dumps(DEVICE.to_json()))
  result = mea.evaluate(run, name="pi", device=device, cost={"round_trip_ms": 1.0})
  found = read_json(tmp_path / "run/eval/pi/summary.json")
  assert found["expected"] == json.loads(
    json.dumps({split: figures.to_json() for split, figures in result.expected().items()})
  )
  assert (found["profile"]["digest"], found["cost"]["round_trip_ms"]) == (DEVICE.digest, 1.0)
