"""Training, resuming, evaluating and grids need none of the extras."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.exports import ROOT

# What the extras and PyTorch bring, and what a dependency asks for without a use here.
BLOCKED = (
  "ai_edge_litert",
  "ai_edge_quantizer",
  "grpc",
  "kubernetes",
  "litert_converter",
  "prometheus_client",
  "pyarrow",
  "pybreaker",
  "ray",
  "tenacity",
  "tensorboardX",
  "tensorflow",
  "torch",
  "tritonclient",
)
WITHOUT = """
import sys
from importlib.machinery import PathFinder
from pathlib import Path

class WithoutExtras(PathFinder):
  @staticmethod
  def find_spec(name, path=None, target=None):
    absent = name.partition(".")[0] in sys.argv[2].split(",")
    return None if absent else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutExtras
folder = Path(sys.argv[1])
import meanet_jax as mea
from meanet_jax.config.parsing import resolve
from tests.experiments import tiny_config
config = tiny_config()
"""
REPEATED = """
import meanet_jax.evaluation.evaluate, meanet_jax.grid.run, meanet_jax.grid.train
import meanet_jax.report.write
mea.train(resolve(config), folder / "run")
"""
COMPLETE = """
run = mea.train(resolve(config), folder / "run")  # whose last stage is missing
mea.evaluate(run)
for stage in (config.stages.main, config.stages.edge, config.stages.cloud):
  stage.epochs = 1
mea.train_grid(resolve(config), {"seed": [0, 1]}, folder / "grid")
"""


def without_extras(script: str, folder: Path) -> None:
  command = [sys.executable, "-c", WITHOUT + script, str(folder), ",".join(BLOCKED)]
  env = os.environ | {"PYTHONPATH": str(ROOT)}
  ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
  assert ended.returncode == 0, ended.stderr


def test_a_run_repeated_and_all_that_is_imported(finished_run, tmp_path):
  shutil.copytree(finished_run.path, tmp_path / "run")
  without_extras(REPEATED, tmp_path)


@pytest.mark.full
def test_a_run_resumed_and_evaluated_and_a_grid(finished_run, tmp_path):
  run = tmp_path / "run"
  shutil.copytree(finished_run.path, run)
  shutil.rmtree(run / "checkpoints" / "cloud")
  without_extras(COMPLETE, tmp_path)
  assert any((run / "checkpoints" / "cloud").iterdir())
  assert (tmp_path / "grid" / "grid.json").exists()
