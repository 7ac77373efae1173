"""The documented example of a user's module, from training to the device."""

import json
import runpy
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from meanet_jax.config.parsing import resolve
from meanet_jax.config.schema import Config
from meanet_jax.data.sources import load
from meanet_jax.models.zoo import build
from meanet_jax.report.write import evaluate_run
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.training.pretrained import initial_variables
from meanet_jax.training.restore import load_variables
from meanet_jax.training.train import train
from tests.exports import ROOT
from tests.shared import Artifacts


def example(**main) -> Config:
  config = runpy.run_path(str(ROOT / "examples/own_network.py"))["get_config"]()
  for stage in (config.stages.main, config.stages.edge, config.stages.cloud):
    stage.epochs, stage.warmup_epochs = 2, 0
  config.stages.main.ema_decay = 0.5
  config.model.main.update(main)
  return resolve(config)


@pytest.fixture(scope="module")
def run(artifacts: Artifacts) -> RunDirectory:
  def build(path: Path) -> None:
    with jax.numpy_dtype_promotion("standard"):
      train(example(), path)
      evaluate_run(path)

  return RunDirectory.existing(artifacts.get("own_network", build))


@pytest.mark.full
def test_the_example_trains_evaluates_and_exits_early_on_the_device(run, tmp_path):
  from meanet_jax.edge.classifier import EdgeClassifier
  from meanet_jax.tflite.export import Options, export
  from meanet_jax.tflite.source import from_run

  with jax.numpy_dtype_promotion("standard"):
    export(from_run(run.path), tmp_path, Options(allow_unmet=True))
  summary = json.loads((run.eval_path / "summary.json").read_text())
  assert summary["systems"]["main_only"]["accuracy"] > 0.1
  assert summary["systems"]["main_only"]["macs_edge"] < summary["systems"]["edge_only"]["macs_edge"]
  images = load(run.config().dataset).test.images_at(range(8))
  results = EdgeClassifier(tmp_path).classify(images)
  assert len(results) == 8


@pytest.mark.full
def test_a_changed_file_is_said_in_one_line(run, said, tmp_path):
  config = run.config()
  own = json.loads(run.modules_path.read_text())
  assert own["main"]["module"] == "examples.own_network:ConvNeXt"
  load_variables(config, build(config), load(config.dataset), run)
  assert not [line for line in said if "has changed" in line]
  copy = tmp_path / "run"
  shutil.copytree(run.path, copy)
  (copy / "modules.json").write_text(json.dumps({"main": own["main"] | {"sha256": "0"}}))
  load_variables(config, build(config), load(config.dataset), RunDirectory.existing(copy))
  (line,) = [line for line in said if "has changed" in line]
  assert "examples.own_network:ConvNeXt (model.main.module)" in line


@pytest.mark.full
def test_another_run_of_the_module_is_where_training_starts_and_its_head_may_be_fresh(run):
  config = run.config()
  learned = load_variables(config, build(config), load(config.dataset), run)["main"]
  for reset in (False, True):
    again = example(pretrained=str(run.path), reset_head=reset)
    found = initial_variables(again, build(again), ("main",))["main"]["params"]
    for name, part in found.items():
      same = [
        np.array_equal(a, b)
        for a, b in zip(*map(jax.tree.leaves, (part, learned["params"][name])), strict=True)
      ]
      assert all(same) == (name != "head" or not reset), name
