"""A stage's checkpoints, written by Orbax, each with a manifest of our own."""

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from meanet_jax.errors import UserError
from meanet_jax.log import logger
from meanet_jax.runs.lock import make_directory
from meanet_jax.runs.manifest import verify, write_manifest, write_top_manifest
from meanet_jax.runs.process_arrays import write_arrays_here

PyTree = Any
_ARRAYS = "default"  # Orbax's name of the directory with all but the metrics
_ARRAY_INDEX = f"{_ARRAYS}/manifest.ocdbt"  # TensorStore finds every array through it
_PARTIAL = ".orbax-checkpoint-tmp"  # follows the step in the name of a checkpoint being written


class _Handler(ocp.StandardCheckpointHandler):
  def finalize(self, directory: Any) -> None:
    """Collects the arrays under one index.

    Orbax looks for them with a pattern, and its own paths let the characters * ? [ ] in a
    directory's name take part in it: none would be found, or those of a directory beside it.
    """
    super().finalize(Path(directory))


class StageCheckpoints:
  """The checkpoints of one stage: asynchronous, each complete or absent.

  The newest `keep` stay, and with `keep_best` the one of the best accuracy (the newest of equals).

  Raises:
    UserError: there can be no such directory.
  """

  def __init__(self, path: Path, keep: int, keep_best: bool = False):
    policies = ocp.checkpoint_managers
    kept: list[Any] = [policies.LatestN(keep)]
    if keep_best:
      best = policies.BestN(get_metric_fn=_accuracy, n=1, keep_checkpoints_without_metrics=False)
      kept.append(best)
    self._path = path
    self._saving: int | None = None  # its outcome not yet known
    make_directory(path, "checkpoints")
    # A run's checkpoints are one process's own matter, whose manager waits for no other.
    own = ocp.options.MultiprocessingOptions(
      jax.process_index(),
      active_processes={jax.process_index()},
      barrier_sync_key_prefix=f"process {jax.process_index()}",
    )
    write_arrays_here()
    # Given here too: the handler that Orbax would make writes in process 0 alone.
    handler = _Handler(multiprocessing_options=own)
    handlers = ocp.DefaultCheckpointHandlerRegistry()
    for arguments in (ocp.args.StandardSave, ocp.args.StandardRestore):
      handlers.add(_ARRAYS, arguments, handler)
    self._manager = ocp.CheckpointManager(
      path,
      handler_registry=handlers,
      options=ocp.CheckpointManagerOptions(
        create=False,
        multiprocessing_options=own,
        preservation_policy=policies.AnyPreservationPolicy(kept),
        best_fn=_accuracy if keep_best else None,  # without it Orbax writes no metrics
        async_options=ocp.AsyncOptions(
          post_finalization_callback=self._finish,
          # Made in a thread, a directory is announced under a key that all processes share, though
          # each counts its own checkpoints: one would wait for, or believe, another's.
          create_directories_asynchronously=False,
        ),
      ),
    )

  def latest_step(self) -> int | None:
    """The newest complete checkpoint's step, once the one under way is; None without one."""
    self._settle()
    return self._manager.latest_step()

  def check(self) -> None:
    """Raises the error of a checkpoint that could not be written, once that is known."""
    # Orbax hands the error to its own thread, so its `check_for_errors` would not tell.
    if self._saving is not None and not self._manager.is_saving_in_progress():
      self._settle()

  def save(self, step: int, tree: PyTree, accuracy: float | None = None) -> None:
    """Starts to write a checkpoint, once the one before it is written; `close` waits for it.

    Args:
      step: its number.
      tree: of NumPy arrays, which Orbax writes in any process; they must not change any more.
      accuracy: what the best is selected by; None for a checkpoint that cannot be the best.
    """
    self._settle()
    self._saving = step
    metrics = None if accuracy is None else {"accuracy": accuracy}
    arrays = jax.tree.map(np.asarray, tree)  # NumPy's scalars too, which Orbax tells apart
    self._manager.save(step, args=ocp.args.StandardSave(arrays), metrics=metrics)

  def restore(self, step: int, like: PyTree) -> PyTree:
    """A checkpoint as NumPy arrays, in the structure, shapes and types of `like`."""
    abstract = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), like)
    return self._manager.restore(step, args=ocp.args.StandardRestore(abstract))

  def close(self) -> None:
    """Waits until everything is on disk; what could not be written is removed."""
    try:
      self._settle()
    finally:
      try:
        self._manager.close()
      finally:
        # After the first of its writers has failed the others go on, and make the directory anew.
        for _ in range(10):
          if not _remove_partial(self._path):
            break
          time.sleep(1)

  def _settle(self) -> None:
    """Waits for the checkpoint under way, and raises its error."""
    try:
      self._manager.wait_until_finished()
      checkpoint = self._path / str(self._saving)
      if checkpoint.is_dir():
        write_top_manifest(checkpoint)
    finally:
      self._saving = None

  def _finish(self) -> None:
    # Orbax calls this in its own thread, between the last array and the checkpoint's final name.
    (partial,) = self._path.glob(f"{self._saving}{_PARTIAL}*")
    if not (partial / _ARRAY_INDEX).is_file():  # else it would be known when the run is over
      raise UserError(
        f"checkpoint {self._path / str(self._saving)} cannot be read back ({_ARRAY_INDEX} is "
        "missing) and was not kept; earlier checkpoints are complete; use a --workdir of plain "
        "letters"
      )
    write_manifest(partial)


@contextlib.contextmanager
def open_checkpoints(path: Path, keep: int, keep_best: bool = False) -> Iterator[StageCheckpoints]:
  """A stage's checkpoints, on disk when the context ends, however it ends."""
  checkpoints = StageCheckpoints(path, keep, keep_best)
  try:
    yield checkpoints
  finally:
    checkpoints.close()


def finished_step(path: Path) -> int | None:
  """The newest complete checkpoint's step, without starting a manager; None without one."""
  return max(_steps(path), default=None)


def complete_step(path: Path) -> int | None:
  """The step of the newest checkpoint whose files are those that were written; None without one.

  Args:
    path: of the stage.
  """
  failed: dict[int, str] = {}
  complete = None
  for step in sorted(_steps(path), reverse=True):
    found = verify(path / str(step))
    if found is None:
      complete = step
      break
    failed[step] = found
  instead = "no earlier one is complete" if complete is None else f"step {complete} is used instead"
  for step, found in failed.items():
    logger.info(f"checkpoint {path / str(step)} failed verification ({found}); {instead}")
  return complete


def quarantine_failed(path: Path) -> None:
  """Renames newer checkpoints than `complete_step` to STEP.quarantined: they can be saved again.

  So too an older checkpoint whose accuracy cannot be relied on; of its arrays nothing is read. What
  a killed process was writing is removed. To be called before anything is written to the stage.
  """
  _remove_partial(path)
  complete = complete_step(path)
  for step in _steps(path):
    if step == complete:
      continue
    if complete is not None and step < complete:
      found = verify(path / str(step), skip=_ARRAYS)
      if found is None:
        continue
      logger.info(f"checkpoint {path / str(step)} failed verification ({found}); quarantined")
    quarantined = path / f"{step}.quarantined"
    shutil.rmtree(quarantined, ignore_errors=True)
    (path / str(step)).rename(quarantined)


def read_arrays(checkpoint: Path) -> dict[str, np.ndarray]:
  """Every array of a checkpoint `.../STAGE/STEP` by its place in the tree."""
  with ocp.StandardCheckpointer() as reader:
    tree = reader.restore(checkpoint / _ARRAYS)
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {jax.tree_util.keystr(place): np.asarray(leaf) for place, leaf in leaves}


def _steps(path: Path) -> list[int]:
  return [int(step) for step in ocp.utils.checkpoint_steps(path)] if path.is_dir() else []


def _remove_partial(path: Path) -> bool:
  """Removes what is not complete; whether there was anything."""
  found = list(path.glob(f"*{_PARTIAL}*"))
  for partial in found:
    shutil.rmtree(partial, ignore_errors=True)
  return bool(found)


def _accuracy(metrics: dict[str, float]) -> float:
  return metrics["accuracy"]
