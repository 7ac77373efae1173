"""The plain network beside a MEANet: its size, its schedule, and that nothing else trains it."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

from meanet_jax.config.baselines import BaselinesConfig
from meanet_jax.config.constraints import Constraints
from meanet_jax.config.parsing import resolve
from meanet_jax.config.schema import Config
from meanet_jax.config.stages import StageConfig
from meanet_jax.data.sources import load
from meanet_jax.errors import UserError
from meanet_jax.files import read_json
from meanet_jax.models.costs import block_macs
from meanet_jax.models.zoo import build
from meanet_jax.report.write import evaluate_run
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.training.context import RunContext
from meanet_jax.training.hard_classes import predicted_hard_share
from meanet_jax.training.parallel import AXIS
from meanet_jax.training.pretrained import initial_variables
from meanet_jax.training.run_stage import train_stage
from meanet_jax.training.stage_images import StageImages
from meanet_jax.training.stages import STATIC
from meanet_jax.training.static import load_static, static_config, stretched
from meanet_jax.training.train import train
from tests.experiments import tiny_config


def with_static(config: Config, multiple: float = 1.0) -> Config:
  return dataclasses.replace(config, baselines=BaselinesConfig(multiple))


@pytest.fixture(scope="module")
def beside(finished_run, tiny, tmp_path_factory) -> RunDirectory:
  """A finished run that goes on with a static network."""
  workdir = tmp_path_factory.mktemp("static") / "run"
  shutil.copytree(finished_run.path, workdir)
  train(with_static(tiny), workdir)
  return RunDirectory.existing(workdir)


def test_the_share_is_that_of_predictions_of_hard_classes():
  counts = {"true": [0, 1, 2, 2], "predicted": [0, 0, 1, 2], "count": [5, 3, 8, 4]}
  found = {"classes": [1, 2], "precision": [0.5, 0, 1], "confusion_counts": counts}
  assert predicted_hard_share(found) == 12 / 20


def test_it_costs_what_the_edge_does_and_sees_as_many_images(beside, tiny):
  dataset = load(tiny.dataset)
  found = load_static(with_static(tiny), dataset, beside)
  costs = block_macs(build(tiny), tiny.dataset.image_shape)
  selected = read_json(beside.hard_classes_path)
  edge = costs.main + predicted_hard_share(selected) * costs.extension
  # Of widths as small as these there is one every tenth or so.
  assert found.macs == pytest.approx(edge, rel=0.1)
  hard = np.isin(dataset.train.labels, selected["classes"]).sum()
  seen = tiny.stages.main.epochs * len(dataset.train) + tiny.stages.edge.epochs * hard
  assert found.config.stages.main.epochs == round(seen / len(dataset.train)) == 3
  assert found.variables.keys() == {"main"}
  twice = static_config(with_static(tiny, 2.0), dataset, beside)
  macs = block_macs(build(twice), twice.dataset.image_shape).main
  assert macs == pytest.approx(2 * edge, rel=0.1)
  dropping = dataclasses.replace(
    with_static(tiny), model=dataclasses.replace(tiny.model, join_dropout=0.5)
  )
  assert static_config(dropping, dataset, beside) == found.config


def test_it_equals_a_main_block_that_is_trained_alone(beside, tiny, tmp_path):
  """In a run of its own, whose configuration knows nothing of a MEANet's other stages."""
  dataset = load(tiny.dataset)
  found = load_static(with_static(tiny), dataset, beside)
  alone = dataclasses.replace(found.config, baselines=BaselinesConfig())
  run = RunDirectory.create(tmp_path / "alone", alone)
  model = build(alone, AXIS)
  start = jax.device_get(initial_variables(alone, model, ("main",)))
  context = RunContext(alone, model, dataset, run)
  with jax.numpy_dtype_promotion("standard"):
    learned = train_stage(STATIC, context, start, StageImages(dataset.train, dataset.validation))
  jax.tree.map(np.testing.assert_array_equal, learned, found.variables)


@pytest.mark.full
def test_an_evaluation_has_its_systems_with_and_without_running_the_networks(beside, tmp_path):
  workdir, spends = tmp_path / "run", Constraints(max_offload=0.3, spend_budget=True)
  shutil.copytree(beside.path, workdir)
  with jax.numpy_dtype_promotion("standard"):
    evaluate_run(workdir, spends)
  summary = read_json(workdir / "eval/summary.json")
  static, with_cloud = (summary["systems"][name] for name in ("static", "static_cloud"))
  assert static["fraction"] == {"main": 1.0, "extension": 0.0, "cloud": 0.0}
  alone = summary["systems"]["main_only"]
  assert static["macs_edge"] == with_cloud["macs_edge"] >= alone["macs_edge"]
  assert 0 < with_cloud["fraction"]["cloud"] < 1
  assert {"static", "static_cloud"} <= summary["verdict"]["alternatives"].keys()
  assert "static_cloud" in (workdir / "eval/operating_points.csv").read_text()
  with jax.numpy_dtype_promotion("standard"):
    evaluate_run(workdir, spends, reuse_records=True)
  assert read_json(workdir / "eval/summary.json")["systems"] == summary["systems"]


def test_a_schedule_keeps_its_shape_over_more_epochs():
  recipe = StageConfig(epochs=20, schedule="step", step_epochs=(10, 15), warmup_epochs=2)
  longer = stretched(recipe, 30)
  assert (longer.epochs, longer.step_epochs, longer.warmup_epochs) == (30, (15, 22), 3)
  assert dataclasses.replace(longer, epochs=20, step_epochs=(10, 15), warmup_epochs=2) == recipe


def test_a_run_without_it_says_so_and_pretrained_weights_are_refused(finished_run, tiny):
  with pytest.raises(UserError, match=r"has not finished stage static; accepted: "):
    load_static(with_static(tiny), load(tiny.dataset), finished_run)
  fields = tiny_config()
  fields.baselines.static, fields.model.main.pretrained = 1.0, "a.pth"
  with pytest.raises(UserError, match=r"^baselines\.static is 1 and model\.main\.pretrained 'a.pt"):
    resolve(fields)


def test_another_multiple_needs_another_run(beside, tiny):
  with pytest.raises(UserError, match=r"which differs in baselines\.static"):
    beside.changed(with_static(tiny, 2.0))
  assert beside.changed(with_static(tiny)) == {}
