"""Untrained exports of every configuration, and a fresh process without JAX."""

import math
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ai_edge_litert.interpreter import Interpreter

from meanet_jax.config.parsing import resolve
from meanet_jax.config.schema import Config
from meanet_jax.models.variables import abstract_variables
from meanet_jax.models.zoo import build
from meanet_jax.tflite.source import Source, without_dataset

ROOT = Path(__file__).parent.parent
# Refuses to import anything but the standard library, NumPy, this package and what is named.
BLOCKER = """
import sys
class Only:
  allowed = {"numpy", "meanet_jax"} | set(sys.stdlib_module_names) | set(%(extra)r)
  def find_spec(self, name, path=None, target=None):
    if name.partition(".")[0] not in self.allowed:
      raise ModuleNotFoundError(f"No module named {name!r}", name=name.partition(".")[0])
sys.meta_path.insert(0, Only())
"""


def python_without_packages(
  code: str, extra: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
  """Runs code in a fresh process where only NumPy and `extra` exist beside this package."""
  return subprocess.run(
    [sys.executable, "-c", BLOCKER % {"extra": extra} + code],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
  )


def configured(name: str) -> Source:
  """A configuration's networks with made-up weights, whose batch norms do something.

  Drawn with NumPy, because Flax's initialisers take long to compile.
  """
  return with_drawn_weights(
    resolve(runpy.run_path(str(ROOT / f"configs/{name}.py"))["get_config"]())
  )


def with_drawn_weights(config: Config) -> Source:
  """A configuration's networks with made-up weights, as `configured` has them."""
  rng = np.random.default_rng(0)

  def drawn(path: Any, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
    name = path[-1].key
    if name in ("scale", "var"):
      values = rng.uniform(0.5, 1.5, leaf.shape)
    elif name in ("mean", "bias"):
      values = rng.normal(0, 0.3, leaf.shape)
    else:
      values = rng.normal(0, math.sqrt(2 / math.prod(leaf.shape[:-1])), leaf.shape)
    return values.astype(np.float32)

  abstract = abstract_variables(build(config), config.dataset.image_shape)
  return without_dataset(config, jax.tree_util.tree_map_with_path(drawn, abstract))


def runner(model: bytes, signature: str) -> Callable[..., dict[str, np.ndarray]]:
  return Interpreter(model_content=model, num_threads=1).get_signature_runner(signature)
