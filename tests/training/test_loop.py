"""What the loop watches over while it trains."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from meanet_jax.config.schema import Config
from meanet_jax.data.sources import load
from meanet_jax.errors import TrainingDivergedError
from meanet_jax.models.meanet import BLOCKS
from meanet_jax.models.variables import init_variables
from meanet_jax.models.zoo import build
from meanet_jax.runs.checkpoints import finished_step
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.training import loop, stages


def train_main(config: Config, path: Path) -> RunDirectory:
  run, dataset = RunDirectory.create(path, config), load(config.dataset)
  variables = init_variables(build(config), 0, config.dataset.image_shape, BLOCKS)
  images = loop.StageImages(dataset.train, dataset.validation)
  model = build(config, "batch")
  loop.train_stage(stages.MAIN, config, model, variables, images, run)
  return run


def test_other_shapes_are_refused_instead_of_compiled(tiny, tmp_path, monkeypatch):
  original = loop.ahead

  def shrinking(batches):
    for number, batch in enumerate(original(batches)):
      yield batch if number < 2 else jax.tree.map(lambda x: x[:, :32], batch)

  monkeypatch.setattr(loop, "ahead", shrinking)
  with pytest.raises(RuntimeError, match="stage main: its step would be compiled again"):
    train_main(tiny, tmp_path)


def test_a_state_that_is_not_finite_is_not_saved(tiny, tmp_path, monkeypatch):
  """Where the losses are: here the 22nd step, which is the last, overflows."""
  original = loop.map_train_step

  def overflowing(step):
    def damaged(state, batch, key):
      after, sums = step(state, batch, key)
      factor = jnp.where(after.step == 22, jnp.inf, 1.0).astype(jnp.float32)
      return after.replace(params=jax.tree.map(lambda x: x * factor, after.params)), sums

    return original(damaged)

  monkeypatch.setattr(loop, "map_train_step", overflowing)
  with pytest.raises(
    TrainingDivergedError, match="stage main, step 22: the state after it has NaN"
  ):
    train_main(tiny, tmp_path)
  assert finished_step(tmp_path / "checkpoints" / "main") == 11


def test_time_is_told_beside_the_metrics(finished_run):
  metrics, timing = (
    [json.loads(line) for line in path.read_text().splitlines()]
    for path in (finished_run.metrics_path, finished_run.timing_path)
  )
  logged = [line for line in metrics if "loss" in line]
  assert [(line["stage"], line["step"]) for line in logged] == [
    (line["stage"], line["step"]) for line in timing
  ]
  assert {"loss", "accuracy", "gradient_norm", "learning_rate"} <= logged[0].keys()
  assert not any("second" in name for line in metrics for name in line)
  first = [line["stage"] for line in timing if "first_step_seconds" in line]
  assert first == ["main", "edge", "cloud"]
  for line in timing:
    assert line["images_per_second"] * line["step_seconds"] == pytest.approx(64)
