"""What a device imports needs NumPy alone: every other package is refused by name."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
# Refuses to import anything from outside the standard library, NumPy and this package.
BLOCKER = """
import sys
class Only:
  allowed = {"numpy", "meanet_jax"} | set(sys.stdlib_module_names) | set(%(extra)r)
  def find_spec(self, name, path=None, target=None):
    if name.partition(".")[0] not in self.allowed:
      raise ModuleNotFoundError(f"No module named {name!r}", name=name.partition(".")[0])
sys.meta_path.insert(0, Only())
"""


def run_without_packages(code: str, extra: tuple[str, ...] = ()) -> str:
  """Runs code in a fresh process where only NumPy and `extra` exist beside this package."""
  result = subprocess.run(
    [sys.executable, "-c", BLOCKER % {"extra": extra} + code],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  assert result.returncode == 0, result.stderr
  return result.stdout


def test_the_blocker_blocks():
  code = (
    "try:\n  import jaxtyping\nexcept ModuleNotFoundError as error:\n  print('blocked', error.name)"
  )
  assert run_without_packages(code).split() == ["blocked", "jaxtyping"]


@pytest.mark.parametrize(
  "module",
  [
    "config",
    "errors",
    "seeds",
    "annotations",
    "routing.policies",
    "routing.scores",
    "routing.classes",
  ],
)
def test_imports_with_numpy_alone(module):
  run_without_packages(f"import meanet_jax.{module}")


def test_the_rules_work_without_jaxtyping():
  code = """
import numpy as np
from meanet_jax.routing.classes import is_hard
from meanet_jax.routing.policies import Policy, Records, Thresholds, route
from meanet_jax.routing.scores import hard_probability, scores
rng = np.random.default_rng(0)
hard = is_hard(np.array([1, 3]), 4)
main, cloud = rng.normal(size=(2, 9, 4)).astype(np.float32)
extension = rng.normal(size=(9, 2)).astype(np.float32)
records = Records(
  rng.integers(4, size=9).astype(np.int32), hard_probability(main, hard), scores(main),
  scores(extension, np.array([1, 3], np.int32)), scores(cloud))
taken = route(Policy(), Thresholds(np.float32(1.2), np.nan, np.nan), records, hard)
print(*taken.exit)
"""
  alone = run_without_packages(code)
  beside_jax = subprocess.run(
    [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
  )
  assert alone == beside_jax.stdout
  assert set(alone.split()) <= {"0", "1", "2"}
