"""Timing of compiled programs, and arguments for them."""

import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.accelerator.card import CARDS, peak_flops
from meanet_jax.planning.hbm_traffic import hbm_traffic

PyTree = Any


def rounds(
  seconds: dict[str, Callable[[int], float]], length: float, repeats: int
) -> dict[str, float]:
  """Median seconds per step of each, measured in turn.

  Args:
    seconds: by name, functions from a number of steps to the seconds of one of them.
    length: of one measurement, in seconds, about.
    repeats: measurements of each.
  """
  steps = {}
  for name, time_steps in seconds.items():
    time_steps(2)  # the first calls of a program are slower
    steps[name] = max(1, math.ceil(length / max(time_steps(2), 1e-6)))
  found = [{name: each(steps[name]) for name, each in seconds.items()} for _ in range(repeats)]
  return {name: statistics.median(row[name] for row in found) for name in seconds}


class Calls:
  """A compiled function called again and again, its first result fed back as first argument."""

  def __init__(self, lowered: jax.stages.Lowered, feeds_back: bool = True):
    begun = time.perf_counter()
    self.compiled = lowered.compile()
    self.compile_seconds = time.perf_counter() - begun
    self._arguments = list(filled(lowered.args_info[0]))
    self._feeds_back = feeds_back

  def seconds(self, steps: int) -> float:
    """Seconds per call."""
    result: Any = None
    begun = time.perf_counter()
    for _ in range(steps):
      result = self.compiled(*self._arguments)
      if self._feeds_back:
        self._arguments[0] = result[0]
    jax.block_until_ready(result)
    return (time.perf_counter() - begun) / steps


def filled(abstract: PyTree) -> PyTree:
  """Arrays for shapes: kernels as He et al. draw them, scales and variances 1, pixels at random."""
  rng = np.random.default_rng(0)

  def fill(path: Any, leaf: Any) -> Any:
    name, shape, dtype = jax.tree_util.keystr(path), leaf.shape, leaf.dtype
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
      return jax.random.split(jax.random.key(0), shape) if shape else jax.random.key(0)
    if dtype == jnp.bool_ or "loss_weights" in name:  # a trial that lives and learns
      return jnp.ones(shape, dtype)
    if dtype == jnp.uint8:
      return jnp.asarray(rng.integers(256, size=shape, dtype=np.uint8))
    if not jnp.issubdtype(dtype, jnp.floating):
      return jnp.zeros(shape, dtype)
    if "kernel" in name and "opt_state" not in name:
      fan_in = max(math.prod(shape[-4:-1]) if len(shape) > 3 else shape[-2], 1)
      return jnp.asarray(rng.normal(size=shape) * np.sqrt(2 / fan_in), dtype)
    if name.endswith(("['scale']", "['var']")) and "opt_state" not in name:
      return jnp.ones(shape, dtype)
    return jnp.zeros(shape, dtype)

  return jax.tree_util.tree_map_with_path(fill, abstract)


def program_figures(compiled: jax.stages.Compiled, seconds: float, dtype: str) -> dict[str, Any]:
  """What a program does by its compiler's count, and how near to the card's peaks that is.

  flops: of a call. share_of_peak: of the card's flops, None for a card that is not in the table.
  bytes: moved, by `hbm_traffic`, or by XLA's count of what is accessed where that does not
  understand the program (`bytes_by` says which). times_memory: the call's time over the time that
  moving so many bytes takes at least.
  """
  counted, kind = compiled.cost_analysis(), jax.devices()[0].device_kind
  try:
    moved, by = float(hbm_traffic(compiled.as_text())), "hbm_traffic"
  except (ValueError, KeyError, StopIteration, IndexError):  # another backend's HLO
    moved, by = float(counted["bytes accessed"]), "XLA"
  peak, card = peak_flops(kind, dtype), CARDS.get(kind)
  return {
    "flops": float(counted["flops"]),
    "share_of_peak": None if peak is None else counted["flops"] / seconds / peak,
    "bytes": moved,
    "bytes_by": by,
    "times_memory": None if card is None else seconds * card.bytes_per_second / moved,
  }
