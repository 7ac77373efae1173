"""What the steps of a stage say: sums of metrics between lines, and how long they took."""

import math
import time
from typing import Any

import jax
import numpy as np
import optax

from meanet_jax.errors import TrainingDivergedError
from meanet_jax.runs.stage_files import StageFiles
from meanet_jax.training.state import NO_SUMS, SUMS


class StageLog:
  """Sums metrics between lines of metrics.jsonl."""

  def __init__(
    self,
    stage: str,
    steps_per_epoch: int,
    files: StageFiles,
    schedule: optax.Schedule,
    sums: dict[str, Any],
  ):
    self._stage, self._steps_per_epoch = stage, steps_per_epoch
    self._files, self._schedule = files, schedule
    begun = {name: float(value) for name, value in sums.items()}
    self._sums: dict[str, float] = begun if begun["examples"] else {}
    self._clock = _Clock()
    self.note = "loss -"

  @property
  def rate(self) -> str:
    """Images per second of the steps that were timed, as text."""
    return self._clock.rate()

  def epoch(self, step: int) -> float:
    """Epochs that so many steps are."""
    return step / self._steps_per_epoch

  def add(self, step: int, sums: dict[str, Any], ends_line: bool) -> None:
    """Adds a step's sums.

    Args:
      step: its number.
      sums: on the host.
      ends_line: whether a line is written of it and the steps since the last one.

    Raises:
      TrainingDivergedError: they are not finite.
    """
    values = {name: float(value) for name, value in sums.items()}
    for name, what in (("loss", "loss"), ("gradient_norm", "gradient's norm")):
      if not math.isfinite(values[name]):
        raise diverged(self._stage, step, f"the {what} is {values[name]}")
    self._clock.count(values["examples"])
    # The norm is of the newest step; the others are summed.
    norm = values.pop("gradient_norm")
    self._sums = {name: self._sums.get(name, 0.0) + value for name, value in values.items()}
    self._sums["gradient_norm"] = norm
    if ends_line:
      self._write(step)

  def sums(self) -> dict[str, Any]:
    """The sums since the last line, for a checkpoint between two lines."""
    if not self._sums:
      return NO_SUMS
    return {name: np.asarray(self._sums[name], np.float64) for name in SUMS}

  def _write(self, step: int) -> None:
    """The means since the last line, and how long its steps took."""
    values = {
      "loss": self._sums["loss"] / self._sums["examples"],
      "accuracy": self._sums["correct"] / self._sums["count"],
      "gradient_norm": self._sums["gradient_norm"],
      "learning_rate": float(self._schedule(step - 1)),
    }
    epoch = self.epoch(step)
    self._files.metrics(step, epoch, values)
    self._files.timing(step, epoch, self._clock.lap() | _memory())
    self.note = f"loss {values['loss']:.4f}, accuracy {values['accuracy']:.4f}"
    self._sums = {}

  def paused(self) -> None:
    """Leaves what went on since the last line, which was no training, out of the next time."""
    self._clock.restart()


def diverged(stage: str, step: int, found: str) -> TrainingDivergedError:
  """The error of a stage that is lost."""
  return TrainingDivergedError(
    f"stage {stage}, step {step}: {found}; "
    "accepted: finite numbers (try a smaller learning rate); the last good checkpoint is kept"
  )


class _Clock:
  """Times steps whose sums have been fetched; the first, which compiles, apart from the others."""

  def __init__(self):
    self._first: float | None = None
    self._total_seconds = self._total_examples = 0.0
    self.restart()

  def restart(self) -> None:
    self._since = time.monotonic()
    self._steps, self._examples = 0, 0.0

  def count(self, examples: float) -> None:
    if self._first is None:
      self._first = time.monotonic() - self._since
      self.restart()
    else:
      self._steps += 1
      self._examples += examples

  def lap(self) -> dict[str, float]:
    values: dict[str, float] = {}
    if not self._total_seconds and self._first is not None:
      values["first_step_seconds"] = self._first
    if self._steps:
      seconds = time.monotonic() - self._since
      values["step_seconds"] = seconds / self._steps
      values["images_per_second"] = self._examples / seconds
      self._total_seconds += seconds
      self._total_examples += self._examples
    self.restart()
    return values

  def rate(self) -> str:
    if not self._total_seconds:
      return "too few steps to time"
    return f"{self._total_examples / self._total_seconds:.0f} images/s"


def _memory() -> dict[str, int]:
  """Bytes in use now and at most on the first device, where the backend counts them."""
  stats = jax.local_devices()[0].memory_stats() or {}
  names = {"bytes_in_use": "device_memory_bytes", "peak_bytes_in_use": "device_memory_peak_bytes"}
  return {ours: stats[theirs] for theirs, ours in names.items() if theirs in stats}
