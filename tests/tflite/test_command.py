"""meanet export as a user runs it, and what it refuses in one line."""

import dataclasses
import importlib.metadata
import json
import shutil
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pytest

from meanet_jax.config.parsing import to_json
from meanet_jax.edge.classifier import EdgeClassifier
from meanet_jax.errors import UserError
from meanet_jax.files import read_json
from meanet_jax.report.write import evaluate_run
from meanet_jax.routing.operating_point import OperatingPoint
from meanet_jax.routing.policies import Policy
from meanet_jax.tflite import export as pipeline
from meanet_jax.tflite import versions
from meanet_jax.tflite.source import from_run, without_dataset
from meanet_jax.tflite.versions import PINNED, check_versions
from tests.experiments import TINY_FILE
from tests.forked_commands import ROOT, run_command

pytestmark = pytest.mark.usefixtures("undrawn")


def export_command(*flags: str) -> subprocess.CompletedProcess[str]:
  return run_command("-m", "meanet_jax", "export", *flags)


def one_line_error(result: subprocess.CompletedProcess[str]) -> str:
  assert result.returncode == 2, result.stderr
  lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
  assert len(lines) == 1, result.stderr
  assert "Traceback" not in result.stderr
  return lines[0]


def copied(evaluated_run: Path, directory: Path) -> Path:
  shutil.copytree(evaluated_run, directory)
  return directory


def test_export_and_verify(evaluated_run, tmp_path):
  out = tmp_path / "deep" / "out"
  result = export_command(
    "--workdir", str(evaluated_run), "--out", str(out), "--verify", "--input=float32", "--batch=4"
  )
  assert result.returncode == 0, result.stderr
  assert "0 of 719 decisions differ" in result.stdout
  assert sorted(path.name for path in out.iterdir()) == [
    "edge.json",
    "edge.tflite",
    "edge_test.json",
    "policy.tflite",
  ]
  manifest = json.loads((out / "edge.json").read_text())
  assert (manifest["batch_size"], manifest["image_dtype"]) == (4, "float32")
  assert manifest["versions"]["litert-converter"] == PINNED["litert-converter"]
  summary = read_json(evaluated_run / "eval/summary.json")
  assert manifest["operating_point"] == summary["systems"]["meanet"]["operating_point"]
  assert manifest["operating_point"]["hard_classes"] == summary["hard_classes"]


def test_a_configuration_alone(tmp_path):
  config = tmp_path / "config.py"
  config.write_text(TINY_FILE)
  result = export_command("--config", str(config), "--out", str(tmp_path / "out"))
  assert result.returncode == 0, result.stderr
  classifier = EdgeClassifier(tmp_path / "out")
  assert classifier.manifest.weights == "untrained"
  answers = classifier.classify(np.zeros((3, 8, 8, 1), np.uint8))
  assert not any(answer.complex for answer in answers)


def test_wrong_flags(evaluated_run, tmp_path):
  run, out = f"--workdir={evaluated_run}", f"--out={tmp_path / 'out'}"
  for flags, words in (
    ([run], "flag --out is missing; accepted: a directory to write"),
    ([out], "none of --workdir and --config given; accepted: one"),
    ([run, out, "--config=configs/digits.py"], "both of --workdir and --config given"),
    (
      [run, out, "--config.routing.policy=paper"],
      "--config.routing.policy with --workdir; accepted: `meanet train` changes the rules",
    ),
    (
      [out, "--config=configs/digits.py", "--verify"],
      "--verify with --config; accepted: --workdir",
    ),
    (
      [out, "--config=configs/digits.py", "--data-dir=data"],
      "--data-dir with --config; accepted: --workdir",
    ),
    ([run, out, "--quantize=int4"], "--quantize"),
    ([run, out, "--batch=0"], "--batch"),
    ([run, out, "--input=int8"], "--input"),
    (
      [f"--workdir={tmp_path / 'no'}", out],
      "holds no run; accepted: a directory made by meanet train",
    ),
    ([run, f"--out={evaluated_run / 'config.json'}"], "cannot be written: File exists"),
  ):
    assert words in one_line_error(export_command(*flags))
  assert not (tmp_path / "out").exists()


def with_routing(run: Path, **fields) -> None:
  """Evaluates a run again, by its records, under other rules."""
  config = read_json(run / "config.json")
  config["routing"] |= fields
  (run / "config.json").write_text(json.dumps(config))
  evaluate_run(run, reuse_records=True)


def test_the_operating_point_is_the_one_that_evaluation_wrote(evaluated_run, tmp_path):
  """Also where the configuration was changed since: what was evaluated is exported."""
  assert set(from_run(evaluated_run).operating_point.temperatures) == {1.0}
  run = copied(evaluated_run, tmp_path / "run")
  rules = {"hard_rule": "argmax_uncertain", "edge_rule": "fused", "offload": "late"}
  with_routing(run, calibrate=True, criterion="max_prob", cloud_rule="fused", **rules)
  summary = read_json(run / "eval/summary.json")
  point = from_run(run).operating_point
  assert point.to_json() == summary["systems"]["meanet"]["operating_point"]
  assert point.policy == Policy("argmax_uncertain", "fused", "late", "max_prob", "fused")
  for name, temperature in point.temperatures._asdict().items():
    assert temperature == summary["calibration"][name]["temperature"]
    assert temperature != 1
  assert point.fusion is not None
  config = read_json(run / "config.json")
  config["routing"] |= {"edge_rule": "extension", "calibrate": False}
  (run / "config.json").write_text(json.dumps(config))
  assert from_run(run).operating_point.to_json() == point.to_json()


def test_a_summary_without_or_with_a_damaged_operating_point(evaluated_run, tmp_path):
  run = copied(evaluated_run, tmp_path / "run")
  path = run / "eval/summary.json"
  summary = read_json(path)
  entry = summary["systems"]["meanet"]
  entry["operating_point"]["thresholds"]["main"] = None
  path.write_text(json.dumps(summary))
  with pytest.raises(UserError, match=r"summary\.json is damaged: thresholds\.main is missing; .*"):
    from_run(run)
  del entry["operating_point"]
  path.write_text(json.dumps(summary))
  with pytest.raises(UserError, match=r"wrote no operating point; accepted: a run after .*eval"):
    from_run(run)


@pytest.mark.parametrize("stage", ["main", "edge", "cloud"])
def test_a_run_without_a_finished_stage(evaluated_run, tmp_path, stage):
  run = copied(evaluated_run, tmp_path / "run")
  message = f"has not finished stage {stage}; accepted: a run that meanet train finished"
  # Interrupted: the last checkpoint is missing, an earlier one is there.
  steps = sorted((run / "checkpoints" / stage).iterdir(), key=lambda path: int(path.name))
  assert len(steps) == 2
  shutil.rmtree(steps[-1])
  with pytest.raises(UserError, match=message):
    from_run(run)
  shutil.rmtree(run / "checkpoints" / stage)
  with pytest.raises(UserError, match=message):
    from_run(run)


def test_a_run_with_a_damaged_last_checkpoint(evaluated_run, tmp_path):
  run = copied(evaluated_run, tmp_path / "run")
  last = max((run / "checkpoints/edge").iterdir(), key=lambda path: int(path.name))
  largest = max(last.rglob("*"), key=lambda path: path.is_file() and path.stat().st_size)
  contents = bytearray(largest.read_bytes())
  contents[len(contents) // 2] ^= 1
  largest.write_bytes(contents)
  with pytest.raises(UserError, match="has not finished stage edge"):
    from_run(run)


def test_a_run_without_hard_classes_or_evaluation(evaluated_run, tmp_path):
  run = copied(evaluated_run, tmp_path / "run")
  summary = read_json(run / "eval/summary.json")
  point = summary["systems"]["meanet"]["operating_point"]
  point["hard_classes"] = [c for c in range(10) if c not in summary["hard_classes"]]
  (run / "eval/summary.json").write_text(json.dumps(summary))
  with pytest.raises(
    UserError, match=r"of other hard classes than the run's; accepted: .*meanet eval"
  ):
    from_run(run)
  (run / "eval/summary.json").unlink()
  with pytest.raises(UserError, match=r"not been evaluated, .*accepted: a run after meanet eval"):
    from_run(run)
  (run / "hard_classes.json").unlink()
  with pytest.raises(UserError, match="has not finished stage hard_classes"):
    from_run(run)


def test_an_export_again_leaves_nothing_of_the_former(exported, source, tmp_path, monkeypatch):
  out = Path(shutil.copytree(exported, tmp_path / "out"))
  # What `convert_models` gives, without the converter's seconds.
  models = {name: (exported / name).read_bytes() for name in ("edge.tflite", "policy.tflite")}
  monkeypatch.setattr(pipeline, "convert_models", lambda *_: models)

  def interrupted(*_: object) -> None:
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(pipeline, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
      pipeline.export(source, out, pipeline.Options())
  assert sorted(path.name for path in out.iterdir()) == ["edge.tflite", "policy.tflite"]
  (out / "cloud.tflite").touch()
  manifest = pipeline.export(source, out, pipeline.Options())
  assert {path.name for path in out.iterdir()} == {"edge.json", "edge_test.json", *manifest.files}


def test_a_verdict_for_another_system_is_said(
  evaluated_run, exported, source, tmp_path, monkeypatch, said
):
  models = {"edge.tflite": (exported / "edge.tflite").read_bytes()}
  monkeypatch.setattr(pipeline, "convert_models", lambda *_: models)
  verdict = read_json(evaluated_run / "eval/summary.json")["verdict"]
  assert source.deployed == verdict["system"]
  for name, lines in (("meanet", 0), (None, 0), ("main_cloud", 1)):
    pipeline.export(dataclasses.replace(source, deployed=name), tmp_path, pipeline.Options())
    found = [line for line in said if line.startswith("the verdict of the evaluation is ")]
    assert len(found) == lines
  assert "is main_cloud, and this export is of meanet; docs/evaluation.md#the-verdict" in found[0]


@pytest.mark.parametrize("name", ["main_only", "main_cloud", "cloud_only"])
def test_an_export_runs_the_systems_without_an_extension(evaluated_run, exported, source, name):
  """As docs/evaluation.md says that it does."""
  entry = read_json(evaluated_run / "eval/summary.json")["systems"][name]
  point = OperatingPoint.from_json(entry["operating_point"])
  edge = EdgeClassifier(exported, cloud=lambda _: 3, operating_point=point)
  answers = edge.classify(source.dataset.test.images)
  assert not any(answer.extension for answer in answers)
  sent = [answer.complex for answer in answers]
  assert np.mean(sent) == pytest.approx(entry["fraction"]["cloud"], abs=2 / len(sent))


@pytest.mark.parametrize("package", PINNED)
def test_another_version_is_refused_by_name(package, monkeypatch):
  check_versions()

  def version(name: str) -> str:
    return "0.0.1" if name == package else PINNED[name]

  monkeypatch.setattr(versions.importlib.metadata, "version", version)
  with pytest.raises(
    UserError, match=f"{package} is of version 0.0.1; accepted: {PINNED[package]}"
  ):
    check_versions()

  def missing(name: str) -> str:
    raise importlib.metadata.PackageNotFoundError(name)

  monkeypatch.setattr(versions.importlib.metadata, "version", missing)
  with pytest.raises(UserError, match="is not installed; accepted: "):
    check_versions()


def test_pins_are_those_of_pyproject():
  extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
  required = [*extras["export"], *extras["runtime"]]
  assert {f"{name}=={version}" for name, version in PINNED.items()} <= set(required)


def test_a_run_trained_in_bfloat16_is_exported_in_float32(evaluated_run, tmp_path, tiny):
  in_bfloat16 = dataclasses.replace(
    tiny, model=dataclasses.replace(tiny.model, compute_dtype="bfloat16")
  )
  run = copied(evaluated_run, tmp_path / "run")
  (run / "config.json").write_text(json.dumps(to_json(in_bfloat16)))
  for source in (from_run(run), without_dataset(in_bfloat16, {})):
    for block in ("main", "adaptive", "extension", "cloud"):
      assert getattr(source.model, block).dtype == np.float32
