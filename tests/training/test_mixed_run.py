"""A run with every lever: cloud first, a teacher everywhere, all classes, mixed training."""

import dataclasses
import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from meanet_jax.config.grid import GridConfig
from meanet_jax.config.parsing import resolve
from meanet_jax.config.schema import Config
from meanet_jax.errors import TrainingStoppedError
from meanet_jax.files import read_json
from meanet_jax.grid.run import train_grid
from meanet_jax.report.write import evaluate_run
from meanet_jax.runs.checkpoints import finished_step, read_arrays
from meanet_jax.tflite.export import Options, export
from meanet_jax.tflite.source import from_run
from meanet_jax.tflite.verify import verify
from meanet_jax.training.train import train
from tests.experiments import tiny_config
from tests.rounding import OF_TINY_STEPS

STAGES = ("cloud", "main", "edge", "finetune")
pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def config() -> Config:
  fields = tiny_config()
  stages = fields.stages
  stages.training, stages.cloud_first = "mixed", True
  stages.finetune.update(stages.edge)
  stages.finetune.learning_rate, stages.finetune.weigh_exits_by_share = 0.01, True
  fields.model.extension_classes = "all"
  for stage in (stages.main, stages.edge, stages.finetune):
    stage.distillation.weight = 0.5
  for stage in (stages.edge, stages.finetune):
    stage.easy_weight = 0.3
  stages.main.class_weights = "balanced"
  for stage in (stages.cloud, stages.main, stages.edge, stages.finetune):
    stage.epochs = 1
  return resolve(fields)


def learned(path: Path, stage: str) -> dict[str, np.ndarray]:
  checkpoints = path / "checkpoints" / stage
  return read_arrays(checkpoints / str(finished_step(checkpoints)))


@pytest.fixture(scope="module")
def finished(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
  path = tmp_path_factory.mktemp("mixed") / "run"
  train(config, path)
  return path


def test_every_stage_trains_in_order_and_finetuning_goes_on_from_where_the_edge_ended(finished):
  lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
  assert tuple(dict.fromkeys(line["stage"] for line in lines)) == STAGES
  after = learned(finished, "finetune")
  for stage in ("main", "edge"):
    for name, value in learned(finished, stage).items():
      if name.startswith("['params']"):
        assert value.shape == after[name].shape
        assert np.linalg.norm(value - after[name]) < 0.3 * max(np.linalg.norm(value), 1)


def test_a_run_stopped_while_finetuning_goes_on_bit_for_bit(finished, config, tmp_path):
  path = tmp_path / "run"
  shutil.copytree(finished, path)
  shutil.rmtree(path / "checkpoints" / "finetune")
  answers = iter([None] * 4 + [signal.SIGTERM])  # before the stage, and after its steps
  with pytest.raises(TrainingStoppedError, match="of stage finetune"):
    train(config, path, stop=lambda: next(answers))
  train(config, path)
  np.testing.assert_equal(learned(path, "finetune"), learned(finished, "finetune"))
  for name in ("metrics.jsonl", "hard_classes.json"):
    assert (path / name).read_text() == (finished / name).read_text()


def test_a_trial_equals_the_run_alone(finished, config, tmp_path):
  axes = ("{seed=0}, {seed=1, stages.main.distillation.weight=0.8, stages.edge.easy_weight=0.9}",)
  train_grid(config, GridConfig(axes=axes), tmp_path)
  point = tmp_path / "points" / "000"
  for number, stage in enumerate(STAGES, 1):
    ours, theirs = learned(point, stage), learned(finished, stage)
    assert ours.keys() == theirs.keys()
    # Each learns from all before it: the cloud teaches, main's features are joined, and so on.
    accepted = number * OF_TINY_STEPS
    for name, value in theirs.items():
      if "params" in name:
        norm = max(np.linalg.norm(value), 1e-3)
        assert np.linalg.norm(ours[name] - value) / norm < accepted, (stage, name)
  assert read_json(point / "validation.json")["systems"]["meanet"]["accuracy"] > 0.1


@pytest.mark.parametrize("edge_rule", ["extension", "fused"])
def test_the_device_decides_as_the_evaluation(finished, config, tmp_path, edge_rule):
  path = tmp_path / "run"
  shutil.copytree(finished, path)
  changed = dataclasses.replace(
    config, routing=dataclasses.replace(config.routing, edge_rule=edge_rule)
  )
  (path / "config.json").write_text(
    json.dumps(read_json(path / "config.json") | {"routing": dataclasses.asdict(changed.routing)})
  )
  evaluate_run(path)
  entry = read_json(path / "eval" / "summary.json")["systems"]["meanet"]
  assert entry["operating_point"]["extension_classes"] == "all"
  source = from_run(path)
  export(source, tmp_path / "out", Options())
  verify(source, tmp_path / "out")
