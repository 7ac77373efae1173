"""Training, resuming, evaluating and grids need none of the extras."""

import os
import shutil
import subprocess
import sys

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
SCRIPT = """
import sys
from pathlib import Path
from importlib.machinery import PathFinder

class WithoutExtras(PathFinder):
  @staticmethod
  def find_spec(name, path=None, target=None):
    absent = name.partition(".")[0] in sys.argv[2].split(",")
    return None if absent else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutExtras
import meanet_jax as mea
from meanet_jax.config.parsing import resolve
from tests.experiments import tiny_config

folder = Path(sys.argv[1])
config = tiny_config()
run = mea.train(resolve(config), folder / "run")  # whose last stage is missing
mea.evaluate(run)
for stage in (config.stages.main, config.stages.edge, config.stages.cloud):
  stage.epochs = 1
mea.train_grid(resolve(config), {"seed": [0, 1]}, folder / "grid")
"""


def test_nothing_of_the_extras_is_imported(finished_run, tmp_path):
  run = tmp_path / "run"
  shutil.copytree(finished_run.path, run)
  shutil.rmtree(run / "checkpoints" / "cloud")
  command = [sys.executable, "-c", SCRIPT, str(tmp_path), ",".join(BLOCKED)]
  env = os.environ | {"PYTHONPATH": str(ROOT)}
  ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
  assert ended.returncode == 0, ended.stderr
  assert any((run / "checkpoints" / "cloud").iterdir())
  assert (tmp_path / "grid" / "grid.json").exists()
