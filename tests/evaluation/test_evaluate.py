"""eval.py on a real finished run: every number in its files, against plain loops over records."""

import csv
import dataclasses
import json
import math
import re
import shutil

import numpy as np
import pytest

from meanet_jax.commands.app import main
from meanet_jax.config.constraints import Constraints
from meanet_jax.data.sources import load
from meanet_jax.data.splits import ArraySplit
from meanet_jax.errors import UserError
from meanet_jax.evaluation.evaluate import evaluate
from meanet_jax.evaluation.records_file import load_records
from meanet_jax.evaluation.systems import System, systems_beside
from meanet_jax.files import read_json
from meanet_jax.models.costs import block_macs
from meanet_jax.models.zoo import build
from meanet_jax.report.limits import show_verdict
from meanet_jax.report.tables import show_systems
from meanet_jax.report.write import evaluate_run
from meanet_jax.routing.operating_point import OperatingPoint
from meanet_jax.routing.policies import configured_policy
from meanet_jax.routing.rules import route
from meanet_jax.runs.checkpoints import finished_step
from meanet_jax.runs.directory import RunDirectory

SYSTEMS = [
  "main_only",
  "edge_only",
  "cloud_only",
  "main_cloud",
  "paper",
  "meanet",
  "random",
  "oracle",
]


@pytest.fixture(scope="module")
def evaluated(finished_run, tmp_path_factory) -> RunDirectory:
  workdir = tmp_path_factory.mktemp("evaluated") / "run"
  shutil.copytree(finished_run.path, workdir)
  evaluate_run(workdir)
  return RunDirectory.existing(workdir)


def test_all_files_are_there_and_no_half_written_one(evaluated):
  assert sorted(p.name for p in evaluated.eval_path.iterdir()) == [
    *(f"accuracy_vs_energy.{form}" for form in ("pdf", "png", "svg")),
    *(f"accuracy_vs_offload.{form}" for form in ("pdf", "png", "svg")),
    *(f"confusion_matrix.{form}" for form in ("pdf", "png", "svg")),
    *(f"entropies.{form}" for form in ("pdf", "png", "svg")),
    "exact_points.csv",
    "operating_points.csv",
    "records.npz",
    "records_validation.npz",
    "report.html",
    "summary.json",
  ]
  for picture in evaluated.eval_path.glob("*.png"):
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 5000


def test_records_cover_both_splits_in_order(evaluated, tiny):
  dataset = load(tiny.dataset)
  for file, split in (("records", dataset.test), ("records_validation", dataset.validation)):
    records = load_records(evaluated.eval_path / f"{file}.npz", None).records()
    np.testing.assert_array_equal(records.label, split.labels)


def test_summary_equals_a_loop_over_the_records(evaluated, tiny):
  summary = read_json(evaluated.eval_path / "summary.json")
  records = load_records(evaluated.eval_path / "records.npz", None).records()
  n = summary["num_examples"]
  assert (summary["dataset"], summary["split"], n) == ("digits", "test", 719)
  assert list(summary["systems"]) == SYSTEMS
  assert summary["systems"]["paper"] == summary["systems"]["meanet"]
  assert summary["policies"]["selected"] == "configured"
  assert summary["policies"]["members"] == {}
  hard = np.isin(np.arange(10), summary["hard_classes"])
  macs = block_macs(build(tiny), tiny.dataset.image_shape)
  for name, (policy, _) in systems_beside(System(configured_policy(tiny.routing))).items():
    entry = summary["systems"][name]
    point = OperatingPoint.from_json(entry["operating_point"])
    assert point.policy == policy
    assert point.to_json()["thresholds"] == entry["thresholds"]
    taken = route(policy, point.thresholds, records, hard)
    correct = [int(p) == int(y) for p, y in zip(taken.prediction, records.label, strict=True)]
    of_hard = [c for c, y in zip(correct, records.label, strict=True) if hard[y]]
    of_easy = [c for c, y in zip(correct, records.label, strict=True) if not hard[y]]
    assert entry["accuracy"] == pytest.approx(sum(correct) / n, abs=1e-12)
    assert entry["hard_accuracy"] == pytest.approx(sum(of_hard) / len(of_hard), abs=1e-12)
    assert entry["easy_accuracy"] == pytest.approx(sum(of_easy) / len(of_easy), abs=1e-12)
    for number, exit in enumerate(("main", "extension", "cloud")):
      share = sum(int(e) == number for e in taken.exit) / n
      assert entry["fraction"][exit] == pytest.approx(share, abs=1e-12)
    main_runs = 0 if name == "cloud_only" else n
    edge = (main_runs * macs.main + int(taken.ran_extension.sum()) * macs.extension) / n
    assert entry["macs_edge"] == pytest.approx(edge, rel=1e-12)
    assert entry["macs_cloud"] == pytest.approx(entry["fraction"]["cloud"] * macs.cloud)
    assert entry["bytes_up"] == pytest.approx(entry["fraction"]["cloud"] * 64)
  assert summary["systems"]["edge_only"]["fraction"]["cloud"] == 0
  assert summary["systems"]["cloud_only"]["fraction"]["cloud"] == 1


def test_figures_of_every_class_are_those_of_the_selected_routes(evaluated):
  summary = read_json(evaluated.eval_path / "summary.json")
  systems, names = summary["systems"], summary["class_names"]
  without = {name for name, entry in systems.items() if "per_class" not in entry}
  assert without == {"random", "oracle"} == {n for n, e in systems.items() if "macro_f1" not in e}
  for name in sorted(set(systems) - without):
    entry, found = systems[name], systems[name]["per_class"]
    assert found["names"] == names
    support = np.array(found["support"])
    assert support.sum() == summary["num_examples"]
    recall, f1 = np.array(found["recall"]), np.array(found["f1"], float)
    assert (recall * support).sum() / support.sum() == pytest.approx(entry["accuracy"], abs=1e-12)
    hard = summary["hard_classes"]
    of_hard = (recall * support)[hard].sum() / support[hard].sum()
    assert of_hard == pytest.approx(entry["hard_accuracy"], abs=1e-12)
    assert entry["balanced_accuracy"] == pytest.approx(recall.mean(), abs=1e-12)
    assert entry["macro_f1"] == pytest.approx(f1.mean(), abs=1e-12)
    for exit, shares in found["fraction"].items():
      share = (np.array(shares) * support).sum() / support.sum()
      assert share == pytest.approx(entry["fraction"][exit], abs=1e-12)


def test_the_threshold_was_selected_on_validation(evaluated, tiny):
  records = load_records(evaluated.eval_path / "records_validation.npz", None).records()
  entry = read_json(evaluated.eval_path / "summary.json")["systems"]["meanet"]
  offloaded = np.mean(records.main.entropy > np.float32(entry["thresholds"]["main"]))
  assert offloaded <= tiny.evaluation.constraints.max_offload
  step = math.log(10) / (tiny.evaluation.num_thresholds - 1)
  lower = np.mean(records.main.entropy > entry["thresholds"]["main"] - 1.01 * step)
  assert lower > tiny.evaluation.constraints.max_offload or lower == offloaded


def test_what_was_asked_kept_and_realised_is_in_every_system_and_in_the_terminal(
  evaluated, printed
):
  summary = read_json(evaluated.eval_path / "summary.json")
  without = {name for name, entry in summary["systems"].items() if "limits" not in entry}
  assert without == {"random", "oracle"}
  for name in set(summary["systems"]) - without:
    entry = summary["systems"][name]
    limit = entry["limits"]["max_offload"]
    assert limit["test"] == entry["fraction"]["cloud"]
    low, high = limit["interval"]
    assert low <= limit["test"] <= high
    assert limit["kept_on_test"] == (limit["test"] <= limit["asked"])
  assert set(summary["verdict"]["alternatives"]) == set(SYSTEMS) - without
  show_verdict(summary)
  said = printed()
  assert f"verdict: {summary['verdict']['sentence']}" in " ".join(said.split())
  assert "meanet: share sent: asked at most " in said


def test_operating_points_hold_the_selected_point_of_the_summary(evaluated, tiny):
  with (evaluated.eval_path / "operating_points.csv").open() as file:
    rows = list(csv.DictReader(file))
  summary = read_json(evaluated.eval_path / "summary.json")
  for system in ("main_cloud", "paper", "meanet"):
    points = [row for row in rows if row["system"] == system]
    assert len(points) == tiny.evaluation.num_thresholds >= 1001
    (chosen,) = [row for row in points if row["chosen"] == "1"]
    entry = summary["systems"][system]
    assert float(chosen["accuracy"]) == pytest.approx(entry["accuracy"])
    assert float(chosen["threshold_main"]) == pytest.approx(entry["thresholds"]["main"])
    assert float(chosen["energy_mj"]) == pytest.approx(entry["energy_mj"])
    shares = [float(row["fraction_cloud"]) for row in points]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] == 0


def test_the_report_refers_to_no_other_file_and_names_every_system(evaluated):
  page = (evaluated.eval_path / "report.html").read_text(encoding="utf-8")
  assert not re.search(r"<script[^>]*\ssrc=", page)
  assert not re.search(r"<link[^>]*\shref=", page)
  assert re.findall(r"<img[^>]*\ssrc=", page)
  assert not re.search(r'<img[^>]*\ssrc="(?!data:image/png;base64,)', page)
  for system in SYSTEMS:
    assert f'<th scope="row">{system}</th>' in page


def test_exact_points_hold_every_point_of_the_sweep(evaluated):
  with (evaluated.eval_path / "exact_points.csv").open() as file:
    exact = {
      (row["system"], float(row["fraction_cloud"]), float(row["accuracy"]))
      for row in csv.DictReader(file)
    }
  with (evaluated.eval_path / "operating_points.csv").open() as file:
    swept = {
      (row["system"], float(row["fraction_cloud"]), float(row["accuracy"]))
      for row in csv.DictReader(file)
    }
  assert {(s, round(f, 6), round(a, 6)) for s, f, a in swept} <= {
    (s, round(f, 6), round(a, 6)) for s, f, a in exact
  }


def test_what_is_returned_is_what_is_written_and_nothing_is_written_before(
  finished_run, evaluated, tmp_path
):
  shutil.copytree(finished_run.path, tmp_path / "run")
  run = RunDirectory.existing(tmp_path / "run")
  before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*") if path.is_file()}
  found = evaluate(run)
  written = {path for path in run.path.rglob("*") if path.is_file()} - set(before)
  assert {path.name for path in written} == {"records.npz", "records_validation.npz"}
  assert before == {path: path.stat().st_mtime_ns for path in before}
  summary = read_json(evaluated.eval_path / "summary.json")
  assert json.loads(json.dumps(found.summary())) == summary
  assert found.systems["meanet"] == summary["systems"]["meanet"]
  assert found.operating_point.to_json() == summary["systems"]["meanet"]["operating_point"]
  points = found.points()
  (chosen,) = np.flatnonzero(points["chosen"] & (points["system"] == "meanet"))
  assert points["accuracy"][chosen] == found.systems["meanet"]["accuracy"]
  assert points["fraction_cloud"][chosen] == found.systems["meanet"]["fraction"]["cloud"]
  with (evaluated.eval_path / "operating_points.csv").open() as file:
    rows = list(csv.DictReader(file))
  assert list(rows[0]) == list(points)
  assert [float(row["energy_mj"]) for row in rows] == points["energy_mj"].tolist()


def test_the_terminal_table(evaluated, printed):
  summary = json.loads((evaluated.eval_path / "summary.json").read_text())
  show_systems(summary)
  text, accuracy = printed(), summary["systems"]["meanet"]
  assert "energy [mJ]" in text
  assert "latency [ms]" in text
  assert "p95 [ms]" in text
  assert "(energy estimated, latency estimated)" in text
  (line,) = [line for line in text.splitlines() if "meanet" in line]
  assert f"{100 * accuracy['accuracy']:.2f}" in line


def test_a_test_split_without_hard_images_and_exits_without_any(
  finished_run, tmp_path, printed, monkeypatch
):
  shutil.copytree(finished_run.path, tmp_path / "run")
  run = RunDirectory.existing(tmp_path / "run")
  hard = read_json(run.hard_classes_path)["classes"]
  dataset = load(run.config().dataset)
  easy = np.flatnonzero(~np.isin(dataset.test.labels, hard))
  test = ArraySplit(dataset.test.images[easy], dataset.test.labels[easy])
  monkeypatch.setattr(
    "meanet_jax.evaluation.evaluate.load", lambda *_: dataclasses.replace(dataset, test=test)
  )
  with pytest.raises(UserError, match=r"holds a run on digits, .* was read then in splits"):
    evaluate_run(run.path, Constraints(max_offload=0.0))
  run.data_path.unlink()  # a run that has always had this test split
  evaluate_run(run.path, Constraints(max_offload=0.0))
  summary = read_json(run.eval_path / "summary.json")
  assert summary["num_examples"] == len(easy)
  for entry in summary["systems"].values():
    assert entry["hard_accuracy"] is None
    assert entry["easy_accuracy"] == pytest.approx(entry["accuracy"])
  assert summary["systems"]["main_only"]["fraction"]["extension"] == 0
  study, calibration = summary["study"], summary["calibration"]
  assert study["exits"]["cloud"] == {"num_examples": 0, "accuracy": None}
  assert study["accuracy"]["extension_on_hard"] is None
  assert study["detection"]["recall"] is None
  assert study["detection"]["precision"] == 0
  assert calibration["extension"]["expected_calibration_error"] is None
  with (run.eval_path / "operating_points.csv").open() as file:
    assert {row["hard_accuracy"] for row in csv.DictReader(file)} == {"nan"}
  page = (run.eval_path / "report.html").read_text(encoding="utf-8")
  assert page.count(">right: none</h4>") + page.count(">wrong: none</h4>") >= 2
  rows = [line for line in printed().splitlines() if "meanet" in line]
  assert " - " in rows[0]


def test_an_unfinished_run_is_refused(finished_run, tmp_path):
  shutil.copytree(finished_run.path, tmp_path / "run")
  shutil.rmtree(tmp_path / "run" / "checkpoints" / "cloud")
  with pytest.raises(
    UserError, match="has not finished stage cloud; accepted: a run that meanet train"
  ):
    evaluate_run(tmp_path / "run")
  assert not (tmp_path / "run" / "eval").exists()


@pytest.mark.parametrize("stage", ["main", "edge", "cloud"])
def test_a_run_with_a_corrupt_or_an_earlier_last_checkpoint_is_refused(
  finished_run, tmp_path, printed, stage
):
  run = tmp_path / "run"
  shutil.copytree(finished_run.path, run)
  path = run / "checkpoints" / stage
  last = path / str(finished_step(path))
  files = [file for file in last.glob("*/**/*") if file.is_file()]
  largest = max(files, key=lambda file: file.stat().st_size)
  content = bytearray(largest.read_bytes())
  content[len(content) // 2] ^= 1
  largest.write_bytes(bytes(content))
  with pytest.raises(UserError, match=f"has not finished stage {stage}; accepted: a run that"):
    evaluate_run(run)
  assert f"checkpoint {last} failed verification (default/" in printed()
  shutil.rmtree(last)  # as if the run had been ended before it
  with pytest.raises(UserError, match=f"has not finished stage {stage}; accepted: a run that"):
    evaluate_run(run)
  assert not (run / "eval").exists()


def test_flags_state_the_constraints_and_confidence_joins_the_configured_ones(
  finished_run, tmp_path, undrawn
):
  shutil.copytree(finished_run.path, tmp_path / "run")
  most, least = ["--confidence=0.9"], ["--min-accuracy=0.9", "--max-energy-mj=9"]
  for flags, expected, status in (
    (most, {"max_offload": 0.2, "confidence": 0.9, "spend_budget": True}, 0),
    (least, {"min_accuracy": 0.9, "max_energy_mj": 9.0}, 3),  # which no system of this run keeps
  ):
    assert main(["eval", f"--workdir={tmp_path / 'run'}", *flags]) == status
    summary = read_json(tmp_path / "run" / "eval" / "summary.json")
    given = {name: value for name, value in summary["constraints"].items() if value}
    assert given == expected
    assert (summary["verdict"]["system"] is None) == (status == 3)
