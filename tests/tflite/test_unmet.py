"""Thresholds that do not meet their constraints: said wherever they go, and not exported."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from meanet_jax.commands.app import main
from meanet_jax.config.constraints import Constraints
from meanet_jax.edge.manifest import read_manifest
from meanet_jax.errors import UserError
from meanet_jax.files import read_json
from meanet_jax.report.write import evaluate_run
from meanet_jax.tflite.export import Options, export, make_manifest
from meanet_jax.tflite.source import from_run

REASON = "no threshold keeps min-accuracy 0.9999; the nearest has min-accuracy "


@pytest.fixture
def unmet_run(evaluated_run, tmp_path, printed) -> Path:
  """A run evaluated under a constraint that nothing meets."""
  workdir = tmp_path / "run"
  shutil.copytree(evaluated_run, workdir)
  evaluate_run(workdir, Constraints(min_accuracy=0.9999), reuse_records=True)
  return workdir


def test_an_unmet_constraint_is_everywhere_and_export_refuses_it(printed, unmet_run, tmp_path):
  summary = read_json(unmet_run / "eval/summary.json")
  assert summary["systems"]["meanet"]["wish_unmet"].startswith(REASON)
  said = printed().splitlines()
  assert said[-1].startswith(f"warning: meanet: {REASON}")  # nothing after it
  page = (unmet_run / "eval/report.html").read_text()
  before, after = page.split('<div class="warning">')
  assert f"<p>meanet: {REASON}" in after
  assert "<table>" not in before  # above the table

  source = from_run(unmet_run)
  out = tmp_path / "out"
  with pytest.raises(UserError, match=r"do not meet their constraint: no threshold keeps .*"):
    export(source, out, Options())
  assert not out.exists()
  manifest = make_manifest(source, Options(allow_unmet=True), {}, 0)
  assert manifest.to_json()["unmet_constraint"].startswith(REASON)


def test_a_met_constraint_says_nothing(evaluated_run, exported):
  assert 'class="warning"' not in (evaluated_run / "eval/report.html").read_text()
  assert json.loads((exported / "edge.json").read_text())["unmet_constraint"] is None
  assert read_manifest(exported).unmet_constraint is None


def test_the_flag_allows_it_and_the_device_is_told(exported, source, tmp_path, monkeypatch, capsys):
  directory = tmp_path / "unmet"
  shutil.copytree(exported, directory)
  # What `convert_models` gives, without the converter's seconds.
  models = {"edge.tflite": (exported / "edge.tflite").read_bytes()}
  monkeypatch.setattr("meanet_jax.tflite.export.convert_models", lambda *_: models)
  unmet = dataclasses.replace(source, unmet=f"{REASON}0.5")
  export(unmet, directory, Options(allow_unmet=True))
  assert read_manifest(directory).unmet_constraint == f"{REASON}0.5"
  main(["edge", "--model", str(directory), str(tmp_path / "missing.png")])
  warning = capsys.readouterr().err.splitlines()[0]
  assert warning == f"warning: the thresholds of {directory} do not meet: {REASON}0.5"
