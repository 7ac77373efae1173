"""Times the threshold sweeps on made-up records; writes benchmarks/sweep.md.

Command: python -m benchmarks.sweep
"""

import functools
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.measured_on import measured_on
from meanet_jax.files import write_text
from meanet_jax.models.meanet import Outputs
from meanet_jax.routing.counts import Counts
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.policies import PRESETS, Policy, Thresholds, fixed_thresholds
from meanet_jax.routing.rules import Records, route
from meanet_jax.routing.scores import hard_probability, scores
from meanet_jax.selection.exact import exact_curve
from meanet_jax.selection.sweep import sweep, threshold_grid

IMAGES, CLASSES, HARD, REPEATS = 50_000, 100, 50, 5
CHUNK = 8  # what `sweep` takes by default
KNOWN = HardClasses(np.arange(HARD), CLASSES)
IS_HARD, FIXED = KNOWN.mask, fixed_thresholds(hard=0.5)


def made_up_logits(images: int, classes: int, hard: int) -> tuple[np.ndarray, Outputs]:
  """Labels [n] and logits of every exit, right more often than chance."""
  rng = np.random.default_rng(0)
  label = rng.integers(classes, size=images).astype(np.int32)

  def logits(known: int) -> np.ndarray:
    noise = rng.normal(size=(images, known)).astype(np.float32)
    return noise + 4 * (np.arange(known) == label[:, None])

  return label, Outputs(logits(classes), logits(hard), logits(classes))


def records(images: int = IMAGES, known: HardClasses = KNOWN) -> Records:
  """Records of made-up logits."""
  label, logits = made_up_logits(images, len(known.mask), len(known.numbers))
  return Records(
    label,
    hard_probability(logits.main, known.mask),
    scores(logits.main),
    scores(logits.extension, known.numbers.astype(np.int32)),
    scores(logits.cloud),
  )


def median(run: Callable[[], object]) -> float:
  """Median seconds of `REPEATS` runs after one that compiles."""
  run()
  seconds = []
  for _ in range(REPEATS):
    begun = time.perf_counter()
    run()
    seconds.append(time.perf_counter() - begun)
  return statistics.median(seconds)


def vmapped(
  policy: Policy,
  thresholds: Thresholds,
  over: Records,
  is_hard: np.ndarray = IS_HARD,
  chunk: int = CHUNK,
) -> Callable[[], Counts]:
  """The compiled sweep over arrays already on the device, `chunk` thresholds at once."""
  arrays = jax.tree.map(jnp.asarray, (thresholds, over, is_hard))
  return lambda: jax.block_until_ready(sweep(policy, *arrays, chunk=chunk))


def two_thresholds(side: int) -> Thresholds:
  """A side x side grid of main's and the extension's thresholds."""
  grid = threshold_grid(Policy(), KNOWN, FIXED, side)
  main, extension = np.meshgrid(grid.main, grid.extension, indexing="ij")
  return FIXED._replace(main=main.ravel(), extension=extension.ravel())


def two_dimensional() -> None:
  """The 256 x 256 grid in a process of its own, whose peak memory is then the sweep's."""
  made = records()
  seconds = median(vmapped(PRESETS["abstract"], two_thresholds(256), made))
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  print(seconds, peak / 1e6)


def numpy_loop(policy: Policy, thresholds: Thresholds, over: Records) -> None:
  """The same counts, one threshold after another."""
  for point in zip(*thresholds, strict=True):
    taken = route(policy, Thresholds(*point), over, IS_HARD)
    correct = taken.prediction == over.label
    truly_hard = IS_HARD[over.label]
    for mask in (correct, correct & truly_hard, taken.ran_extension):
      mask.sum()
    np.bincount(taken.exit, minlength=3)


def main() -> None:
  """Measures and writes the table."""
  made, paper = records(), PRESETS["paper"]
  grid = threshold_grid(Policy(), KNOWN, FIXED, 10_001)
  one = median(vmapped(paper, grid, made))
  exact = median(functools.partial(exact_curve, paper, made, KNOWN, FIXED))
  few = Thresholds(*(t[::100] for t in grid))
  loop = median(lambda: numpy_loop(paper, few, made)) * len(grid.main) / len(few.main)
  command = [sys.executable, "-c", "from benchmarks.sweep import *; two_dimensional()"]
  root = Path(__file__).parent.parent
  printed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
  two, peak = map(float, printed.split())
  conditions = "\n".join(measured_on())
  text = f"""# Threshold sweeps

{IMAGES:,} made-up images, {CLASSES} classes, {HARD} hard. Medians of {REPEATS} runs after one that
compiles. Made by `python -m benchmarks.sweep`.

| sweep | seconds | target |
|---|---|---|
| 10,001 thresholds, vmapped | {one:.2f} | 1 |
| all {IMAGES + 1:,} exact operating points | {exact:.3f} | 0.050 |
| 256 x 256 pairs of thresholds, vmapped | {two:.2f} | 10 |

Peak memory of the complete process with the 256 x 256 grid, JAX and the records included:
{peak:.2f} GB (target: 1 GB).
A NumPy loop over the 10,001 thresholds takes {loop:.1f} s (measured on every 100th and scaled):
{loop / one:.1f} times the vmapped sweep, {loop / exact:.0f} times the exact curve.

{conditions}"""
  write_text(Path(__file__).with_suffix(".md"), text)
  print(text)


if __name__ == "__main__":
  main()
