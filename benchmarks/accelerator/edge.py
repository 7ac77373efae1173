"""The edge stage's step against its parts: forward(main), and a step of its own blocks."""

import jax

from benchmarks.accelerator.measure import Calls, rounds
from benchmarks.accelerator.record import PartContext
from benchmarks.accelerator.training import DTYPES, REHEARSED, WORKS, Work, experiment, noise
from benchmarks.aot import lower_features, lower_own_blocks
from benchmarks.bare_step import BareStep, Case
from meanet_jax.training import stages


def run(context: PartContext) -> None:
  """ResNet-18 and ResNet-32, bfloat16 first."""
  for dtype in DTYPES:
    for work in REHEARSED if context.rehearsal else WORKS[:2]:
      context.record.add(**row(work._replace(stage=stages.EDGE), dtype, context.rehearsal))


def row(work: Work, dtype: str, rehearsal: bool) -> dict[str, object]:
  """Seconds of the step and of its parts, measured in turn."""
  config = experiment(work, dtype)
  devices = jax.local_devices()[:1]
  step = BareStep(Case("edge", config, noise(config, 2 * work.batch, config.num_hard)), work.stage)
  timed = {
    "step": step.seconds,
    "main": Calls(lower_features(config, work.batch, devices), feeds_back=False).seconds,
    "own": Calls(lower_own_blocks(config, work.batch, devices)).seconds,
  }
  found = rounds(timed, 0.01 if rehearsal else 0.5, 1 if rehearsal else 5)
  return {
    "kind": "edge",
    "network": work.network,
    "batch": work.batch,
    "dtype": dtype,
    "step_seconds": found["step"],
    "main_seconds": found["main"],
    "own_seconds": found["own"],
    "step_over_parts": found["step"] / (found["main"] + found["own"]),
  }
