"""A run killed in its second stage and resumed, against one that was left alone."""

import time
from pathlib import Path

import jax
import numpy as np

from benchmarks.accelerator.record import PartContext
from benchmarks.kill_resume import STAGES, Experiment, compare, log, start
from meanet_jax.errors import UserError
from meanet_jax.runs.checkpoints import finished_step, read_arrays

KINDS = {"deterministic": "--xla_gpu_deterministic_ops=true", "default": ""}


def run(context: PartContext) -> None:
  """With deterministic operations, then without."""
  # This process reads checkpoints alone: the card's memory is for those that it starts.
  jax.config.update("jax_platforms", "cpu")
  for kind, flags in KINDS.items():
    experiment = Experiment("configs/digits.py", 2 if context.rehearsal else 3, flags)
    context.record.add(**row(kind, experiment, context.scratch / kind))


def row(kind: str, experiment: Experiment, folder: Path) -> dict[str, object]:
  """Whether every bit is the same, and if not how far the stages' parameters are apart."""
  alone, killed = folder / "run_alone", folder / "run_killed"  # they share what is compiled
  finish(experiment, alone)
  was_killed = kill_in_edge_stage(experiment, killed)
  finish(experiment, killed)
  try:
    arrays = compare(alone, killed)
  except RuntimeError as error:
    difference, arrays = str(error), None
  else:
    difference = None
  return {
    "kind": "resume",
    "operations": kind,
    "killed": was_killed,
    "equal": difference is None,
    "arrays": arrays,
    "first_difference": difference,
    "apart": {stage: apart(alone, killed, stage) for stage in STAGES},
  }


def finish(experiment: Experiment, workdir: Path) -> None:
  """Trains to the end, from where the run stands.

  Raises:
    UserError: training failed.
  """
  if start(experiment, workdir).wait():
    raise UserError(f"training failed: {log(workdir).read_text().strip().splitlines()[-1:]}")


def kill_in_edge_stage(experiment: Experiment, workdir: Path) -> bool:
  """Kills a run once its edge stage is under way; whether it was still running."""
  process = start(experiment, workdir)
  while process.poll() is None and not _begun(workdir):
    time.sleep(0.002)
  process.kill()
  return process.wait() < 0


def _begun(workdir: Path) -> bool:
  """Whether the stage `edge` has saved, or is about to."""
  folder = workdir / "checkpoints" / "edge"
  return folder.exists() and (finished_step(folder) is not None or any(folder.iterdir()))


def apart(ours: Path, theirs: Path, stage: str) -> float:
  """The distance of the last checkpoints' floating-point arrays, as a share of their length."""

  def last(run: Path) -> dict[str, np.ndarray]:
    folder = run / "checkpoints" / stage
    found = read_arrays(folder / str(finished_step(folder)))
    return {k: v.astype(np.float64) for k, v in found.items() if v.dtype == np.float32}

  expected, found = last(ours), last(theirs)
  squares = sum(np.sum((found[name] - value) ** 2) for name, value in expected.items())
  return float(np.sqrt(squares / sum(np.sum(value**2) for value in expected.values())))
