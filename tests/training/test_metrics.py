"""Metric sums between lines, and how they are carried over a checkpoint."""

from typing import Any

import numpy as np
import optax
import pytest

from meanet_jax.errors import TrainingDivergedError
from meanet_jax.runs.stage_files import StageFiles
from meanet_jax.training.metrics import StageLog
from meanet_jax.training.state import NO_SUMS, SUMS


class Recorder(StageFiles):
  """The lines, in order."""

  def __init__(self):
    self.lines: list[str] = []

  def metrics(self, step, epoch, values):
    self.lines.append(f"{step} at epoch {epoch:g}: loss {values['loss']:g}")


def sums(loss: float) -> dict[str, Any]:
  return {name: np.float32(1) for name in SUMS} | {"loss": np.float32(loss)}


def log(files: Recorder, unlogged=NO_SUMS) -> StageLog:
  return StageLog("main", 10, files, optax.constant_schedule(0.1), unlogged)


def test_a_line_has_the_means_since_the_last_one():
  files = Recorder()
  metrics = log(files)
  for step in range(1, 6):
    metrics.add(step, sums(step), step % 2 == 0)
  assert files.lines == ["2 at epoch 0.2: loss 1.5", "4 at epoch 0.4: loss 3.5"]


def test_sums_of_no_line_yet_are_carried_over_a_checkpoint():
  first, second = Recorder(), Recorder()
  stopped = log(first)
  stopped.add(1, sums(1), ends_line=False)
  log(second, stopped.sums()).add(2, sums(2), ends_line=True)
  assert first.lines == []
  assert second.lines == ["2 at epoch 0.2: loss 1.5"]


def test_numbers_that_are_not_finite_are_refused():
  with pytest.raises(TrainingDivergedError, match="stage main, step 3: the loss is nan"):
    log(Recorder()).add(3, sums(np.nan), ends_line=True)
