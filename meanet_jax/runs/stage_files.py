"""All that a stage writes while it trains: checkpoints, metrics, timings, TensorBoard's events."""

import contextlib
from collections.abc import Iterator
from typing import Any

from meanet_jax.config.schema import LoggingConfig
from meanet_jax.runs.checkpoints import StageCheckpoints
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.runs.metrics import MetricsFile
from meanet_jax.runs.tensorboard import Events

PyTree = Any


class StageFiles:
  """What a training loop does with the disk. This one does nothing: another process does it."""

  def begin(self, like: PyTree) -> tuple[int, PyTree | None]:  # noqa: ARG002
    """The newest checkpoint's step and arrays (0 and None without one); later lines are dropped."""
    return 0, None

  def save(self, step: int, tree: PyTree, accuracy: float | None = None) -> None:
    """See `StageCheckpoints.save`."""

  def metrics(self, step: int, epoch: float, values: dict[str, Any]) -> None:
    """A line of metrics.jsonl, the same in every run of one experiment.

    Raises:
      Exception: the error of a checkpoint since the last line.
    """

  def timing(self, step: int, epoch: float, values: dict[str, Any]) -> None:
    """A line of timing.jsonl, which is not."""

  def close(self) -> None:
    """Waits until everything is on disk."""


class FilesOnDisk(StageFiles):
  """Those of one stage in a run's directory."""

  def __init__(self, run: RunDirectory, stage: str, logging: LoggingConfig, tensorboard: bool):
    self._checkpoints = StageCheckpoints(
      run.checkpoints_path(stage), logging.keep, logging.keep_best
    )
    self._metrics, self._timing = MetricsFile(run.metrics_path), MetricsFile(run.timing_path)
    self._stage, self._tensorboard = stage, run.tensorboard_path / stage if tensorboard else None
    self._events: Events | None = None

  def begin(self, like: PyTree) -> tuple[int, PyTree | None]:
    """See `StageFiles`."""
    latest = self._checkpoints.latest_step()
    step = latest or 0
    for file in (self._metrics, self._timing):
      file.rewind(self._stage, step)
    if self._tensorboard is not None:
      lines = self._metrics.read() + self._timing.read()
      self._events = Events(
        self._tensorboard, (line for line in lines if line["stage"] == self._stage)
      )
    return step, None if latest is None else self._checkpoints.restore(latest, like)

  def save(self, step: int, tree: PyTree, accuracy: float | None = None) -> None:
    """See `StageFiles`."""
    self._checkpoints.save(step, tree, accuracy)

  def metrics(self, step: int, epoch: float, values: dict[str, Any]) -> None:
    """See `StageFiles`."""
    self._checkpoints.check()  # here, because the next checkpoint may be hours away
    self._line(self._metrics, step, epoch, values)

  def timing(self, step: int, epoch: float, values: dict[str, Any]) -> None:
    """See `StageFiles`."""
    self._line(self._timing, step, epoch, values)

  def close(self) -> None:
    """See `StageFiles`."""
    if self._events is not None:
      self._events.close()
    self._checkpoints.close()

  def _line(self, file: MetricsFile, step: int, epoch: float, values: dict[str, Any]) -> None:
    line = file.write(self._stage, step, epoch, values)
    if self._events is not None:
      self._events.write(line)


@contextlib.contextmanager
def closing_after_errors(files: StageFiles) -> Iterator[None]:
  """A context that closes the files where it is left by an error; else the caller does."""
  try:
    yield
  except BaseException:
    files.close()
    raise
