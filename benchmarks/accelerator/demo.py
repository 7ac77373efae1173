"""The training of `make demo`, from its first compilation to its last checkpoint."""

import time
from pathlib import Path

from benchmarks.accelerator.record import PartContext
from configs import digits
from meanet_jax import log
from meanet_jax.config.parsing import resolve
from meanet_jax.config.schema import Config
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.runs.metrics import MetricsFile
from meanet_jax.training.train import train
from tests.experiments import tiny_config


def run(context: PartContext) -> None:
  """Once; what an earlier part has compiled is not compiled again."""
  log.to_console()
  config = resolve(tiny_config() if context.rehearsal else digits.get_config())
  context.record.add(**row(config, context.scratch / "run"))


def row(config: Config, workdir: Path) -> dict[str, object]:
  """Seconds in all, and of the steps of every stage beside the first."""
  begun = time.perf_counter()
  train(config, workdir)
  seconds = time.perf_counter() - begun
  lines = MetricsFile(RunDirectory.existing(workdir).timing_path).read()
  stages = dict.fromkeys(line["stage"] for line in lines)
  return {
    "kind": "demo",
    "seconds": seconds,
    "ms_per_step": {
      stage: 1e3 * min(line["step_seconds"] for line in lines if line["stage"] == stage)
      for stage in stages
    },
  }
