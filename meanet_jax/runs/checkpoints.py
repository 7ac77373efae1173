"""A stage's checkpoints, written by Orbax."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

PyTree = Any


class StageCheckpoints:
  """The checkpoints of one stage: asynchronous, each whole or absent, the newest few kept."""

  def __init__(self, path: Path, keep: int):
    self._manager = ocp.CheckpointManager(
      path, options=ocp.CheckpointManagerOptions(max_to_keep=keep)
    )

  def latest_step(self) -> int | None:
    """The newest complete checkpoint's step; None without one."""
    return self._manager.latest_step()

  def save(self, step: int, tree: PyTree) -> None:
    """Starts to write a checkpoint; `close` waits for it."""
    self._manager.save(step, args=ocp.args.StandardSave(tree))

  def restore(self, step: int, like: PyTree) -> PyTree:
    """A checkpoint as NumPy arrays, in the structure, shapes and types of `like`."""
    abstract = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), like)
    return self._manager.restore(step, args=ocp.args.StandardRestore(abstract))

  def close(self) -> None:
    """Waits until everything is on disk."""
    self._manager.wait_until_finished()
    self._manager.close()


@contextlib.contextmanager
def open_checkpoints(path: Path, keep: int) -> Iterator[StageCheckpoints]:
  """A stage's checkpoints, on disk when the context ends, however it ends."""
  checkpoints = StageCheckpoints(path, keep)
  try:
    yield checkpoints
  finally:
    checkpoints.close()


def finished_step(path: Path) -> int | None:
  """The newest complete checkpoint's step, without starting a manager; None without one."""
  if not path.is_dir():
    return None
  return max(ocp.utils.checkpoint_steps(path), default=None)
