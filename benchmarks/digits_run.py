"""The run on digits that benchmarks read, made when it is missing."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def digits_run(workdir: str) -> Path:
  """A run's directory, after eval.py: trained with configs/digits.py if it is not there yet."""
  path = ROOT / workdir
  if not (path / "eval/summary.json").exists():
    for command in (["train.py", "--config=configs/digits.py"], ["eval.py"]):
      subprocess.run([sys.executable, *command, f"--workdir={path}"], cwd=ROOT, check=True)
  return path
