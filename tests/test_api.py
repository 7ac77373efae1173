"""The public names: light to import, as documented, and what the commands stand on."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import meanet_jax as mea
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.errors import UserError
from meanet_jax.files import read_json, write_json
from meanet_jax.grid.points import expand
from meanet_jax.routing.operating_point import OperatingPoint
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.tflite.source import from_run

ROOT = Path(__file__).parent.parent
LIGHT = """
import sys
import meanet_jax
heavy = {"jax", "numpy", "flax", "ml_collections", "rich"} & set(sys.modules)
assert not heavy, heavy
assert set(meanet_jax.__all__) <= set(dir(meanet_jax))
EDGE
assert "jax" not in sys.modules
"""


def blocks() -> list[str]:
  return re.findall(r"```python\n(.*?)```", (ROOT / "docs/api.md").read_text(), re.DOTALL)


def test_importing_is_light_and_the_edge_needs_no_jax():
  code = LIGHT.replace("EDGE", "meanet_jax.EdgeClassifier")
  ended = subprocess.run(
    [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
  )
  assert ended.returncode == 0, ended.stderr


def test_every_name_is_there_and_has_an_example():
  examples = "\n".join(blocks())
  for name in mea.__all__:
    assert getattr(mea, name).__doc__
    if name not in ("Run", "SelectOptions"):
      assert f"mea.{name}(" in examples, name
  text = (ROOT / "docs/api.md").read_text()
  assert "mea.Run(" in text
  assert "mea.SelectOptions" in text
  with pytest.raises(AttributeError, match="has no attribute 'nosuch'"):
    mea.nosuch  # noqa: B018


@pytest.mark.full
def test_the_examples_of_the_documentation(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  names: dict[str, Any] = {}
  with jax.numpy_dtype_promotion("standard"):
    for block in blocks():
      exec(compile(block, "docs/api.md", "exec"), names)
  assert (tmp_path / "runs/digits/eval/report.html").is_file()
  assert [run.config.seed for run in names["runs"]] == [0, 1]


def test_a_run(evaluated_run):
  run = mea.Run(evaluated_run)
  assert (run.path, repr(run)) == (evaluated_run, f"Run({str(evaluated_run)!r})")
  assert run.config == RunDirectory.existing(evaluated_run).config()
  lines = run.metrics()
  assert {line["stage"] for line in lines} == {"main", "edge", "cloud"}
  model, variables = run.load()
  assert set(variables) == {"main", "adaptive", "extension", "cloud"}
  assert model.main.num_classes == 10
  with pytest.raises(UserError, match="holds no run"):
    mea.Run(evaluated_run / "eval")


def test_a_run_whose_data_have_changed(evaluated_run, tmp_path):
  run = mea.Run(shutil.copytree(evaluated_run, tmp_path / "run"))
  data = read_json(run.path / "data.json")
  data["splits"]["test"]["num_examples"] += 1
  write_json(run.path / "data.json", data)
  for use in (run.load, lambda: from_run(run.path)):
    with pytest.raises(UserError, match=r"differs from what was read then in splits .*the same"):
      use()


def test_a_prediction_at_the_operating_point_of_the_evaluation(evaluated_run, source):
  entry = read_json(evaluated_run / "eval/summary.json")["systems"]["meanet"]
  point = OperatingPoint.from_json(entry["operating_point"])
  answers = mea.Predictor(mea.Run(evaluated_run), point).predict(source.dataset.test.images)
  accuracy = np.mean(answers.classes == source.dataset.test.labels)
  assert accuracy == pytest.approx(entry["accuracy"], abs=1e-9)


def test_an_evaluation(evaluated_run, tmp_path):
  shutil.copytree(evaluated_run, tmp_path / "run")
  run = mea.Run(tmp_path / "run")
  result = mea.evaluate(run, mea.Constraints(max_offload=0.1), reuse_records=True)
  summary = read_json(tmp_path / "run/eval/summary.json")
  assert summary["systems"] == result.systems
  assert summary["constraints"]["max_offload"] == 0.1
  assert summary["systems"]["meanet"]["operating_point"] == result.operating_point.to_json()


def test_a_finished_run_is_trained_no_further(finished_run, tmp_path):
  shutil.copytree(finished_run.path, tmp_path / "run")
  run = mea.train(finished_run.config(), tmp_path / "run")
  assert run.metrics() == mea.Run(finished_run.path).metrics()


def test_a_grid_of_numpy_values(tiny, tmp_path, monkeypatch):
  seen = []

  def trained(config, grid, workdir, *_) -> list[Path]:
    seen.extend(point.config for point in expand(grid.axes, config, 8))
    return [Path(workdir, "000")]

  monkeypatch.setattr("meanet_jax.grid.run.train_grid", trained)
  RunDirectory.create(tmp_path / "000", tiny)
  axes = {
    "stages.main.learning_rate": np.logspace(-2, -1, 2),
    "model.main.structure.widths": [(np.int64(6),), np.array([8])],
    "model.join": ["concat", np.str_("none")],
  }
  options = ReadOptions(workers=0)
  (run,) = mea.train_grid(tiny, axes, tmp_path, options=options)
  assert (run.path, run.options) == (tmp_path / "000", options)
  assert [config.stages.main.learning_rate for config in seen] == [0.01] * 4 + [0.1] * 4
  assert [config.model.main.structure.widths for config in seen[::2]] == [(6,), (8,)] * 2
  assert [config.model.join for config in seen[:2]] == ["concat", "none"]


def test_an_export(evaluated_run, tmp_path, monkeypatch, exported):
  models = {"edge.tflite": (exported / "edge.tflite").read_bytes()}
  monkeypatch.setattr("meanet_jax.tflite.export.convert_models", lambda *_: models)
  manifest = mea.export(mea.Run(evaluated_run), tmp_path / "out")
  classifier = mea.EdgeClassifier(tmp_path / "out")
  assert classifier.manifest.to_json() == manifest.to_json()
  with pytest.raises(UserError, match="quantize is 'fp16'; accepted: none, float16, "):
    mea.export(mea.Run(evaluated_run), tmp_path / "other", quantize="fp16")
  assert not (tmp_path / "other").exists()
