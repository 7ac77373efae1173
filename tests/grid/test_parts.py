"""Trials whose heads learn alone at first, against the same points trained alone."""

import dataclasses
from pathlib import Path

import pytest

from meanet_jax.config.grid import GridConfig
from meanet_jax.config.networks import NetworkConfig
from meanet_jax.config.schema import Config
from meanet_jax.data.sources import load
from meanet_jax.grid.compilation_groups import compilation_groups
from meanet_jax.grid.points import expand
from meanet_jax.grid.run_stage import train_trials
from meanet_jax.grid.trials import Trial
from meanet_jax.models.variables import init_variables
from meanet_jax.models.zoo import build
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.training.context import RunContext
from meanet_jax.training.restore import Learned
from meanet_jax.training.stages import MAIN
from tests.grid.test_trials import arrays, assert_close, trained_alone

AXES = ("{stages.main.learning_rate=0.05}, {seed=1, stages.main.learning_rate=0.02}",)


def test_trials_with_parts_equal_points_trained_alone(tiny, tmp_path):
  main = dataclasses.replace(
    tiny.stages.main, freeze=1, head_epochs=1, learning_rate_factors=("main.head=0.5",)
  )
  assert_trials_equal_runs(
    dataclasses.replace(tiny, stages=dataclasses.replace(tiny.stages, main=main)), tmp_path
  )


def assert_trials_equal_runs(config: Config, tmp_path: Path) -> None:
  points = expand(AXES, config, 10)
  assert len(compilation_groups(points)) == 1
  dataset, model, trials = load(config.dataset), build(config), []
  for point in points:
    run = RunDirectory.create(tmp_path / point.name, point.config)
    variables = init_variables(model, point.config.seed, config.dataset.image_shape, ("main",))
    learned = Learned(lambda _, found=variables: found)
    trials.append(Trial(point, RunContext(point.config, model, dataset, run), learned))
  train_trials(MAIN, trials, GridConfig())
  for trial in trials:
    run = RunDirectory.create(tmp_path / f"alone{trial.point.name}", trial.config)
    theirs = arrays(trained_alone(MAIN, trial.config, dataset, ("main",), run), "main")
    assert_close(arrays(trial.context.run.path, "main"), theirs, trial.point.name)


def test_parts_are_no_numbers_of_one_program(tiny):
  axes = ("stages.main.freeze=0,1", "stages.cloud.head_epochs=0,1")
  assert len(compilation_groups(expand(axes, tiny, 10))) == 4


@pytest.mark.full
def test_trials_of_a_users_module_equal_points_trained_alone(tiny, tmp_path):
  network = NetworkConfig(module="examples.own_network:ConvNeXt", arguments='{"widths": [6]}')
  main = dataclasses.replace(tiny.stages.main, optimizer="adamw", learning_rate=1e-3, head_epochs=1)
  config = dataclasses.replace(
    tiny,
    model=dataclasses.replace(tiny.model, main=network),
    stages=dataclasses.replace(tiny.stages, main=main),
  )
  assert_trials_equal_runs(config, tmp_path)
