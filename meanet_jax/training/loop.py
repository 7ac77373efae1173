"""The one training loop: of an ordinary run, and of a batch of trials."""

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import jax

from meanet_jax.errors import TrainingDivergedError, TrainingStoppedError
from meanet_jax.stopping import Stop
from meanet_jax.training.stage_run import StageRun, Tree
from meanet_jax.training.stages import Stage

PyTree = Any


@runtime_checkable
class Program(Protocol):
  """What the loop drives: a step mapped over devices, and the state that it carries.

  A step of the program is a step of each of its runs, which all go on from their own `begin`. Those
  that are finished, or lost, keep their state while the others go on. Lists are in the order of
  `runs`.
  """

  @property
  def runs(self) -> Sequence[StageRun]:
    """At least one, all of the same stage."""
    ...

  def batches(self) -> Generator[Any, None, None]:
    """A batch on the devices for each step that is left of the run with most of them."""
    ...

  def step(self, batch: Any) -> PyTree:
    """Takes a step; its metric sums, which the devices may not have computed yet."""
    ...

  def split_sums(self, sums: PyTree) -> list[dict[str, Any]]:
    """Each run's own metric sums of a step, whose sums were fetched to the host."""
    ...

  def validate(self) -> list[float]:
    """The accuracy of each run on the validation images of its stage."""
    ...

  def trees(self) -> list[Tree]:
    """What a checkpoint holds of each run now (`saved`), copied to the host."""
    ...

  def mark_diverged(self, run: StageRun, step: int, error: TrainingDivergedError) -> None:
    """Writes down that a run is lost, or raises the error where it is the only one."""
    ...

  def stopped_where(self, taken: int) -> str:
    """Where the program is stopped after so many of its steps, for a `TrainingStoppedError`."""
    ...


def take_steps(program: Program, stop: Stop, advance: Callable[[int, str], None]) -> None:
  """Takes every step that is left of a program; validates, saves and logs as its runs ask for.

  Metric sums are fetched one step late, so that the devices never wait for the host.

  Args:
    program: from its first step on.
    stop: asked after every step but the last whether to save and end.
    advance: called after every step with 1 and a note of the newest metrics.

  Raises:
    TrainingStoppedError: `stop` said so; checkpoints hold every step taken.
    TrainingDivergedError: as `Program.mark_diverged`.
  """
  left = max(run.steps - run.begin for run in program.runs)
  pending: tuple[int, PyTree] | None = None

  def record_pending() -> None:
    nonlocal pending
    if pending is not None:
      (taken, sums), pending = pending, None
      _record(program, taken, jax.device_get(sums))

  with contextlib.closing(program.batches()) as batches:  # its workers, however it ends
    for taken, batch in enumerate(batches, 1):
      sums = program.step(batch)
      record_pending()
      pending = (taken, sums)
      if any(run.validates(run.begin + taken) for run in program.runs):
        record_pending()  # a loss that is not finite is refused before its state is saved
        _validate_and_save(program, taken)
      advance(1, _note(program))
      if taken < left and (asked := stop()):
        record_pending()
        _save_between(program, taken)
        raise TrainingStoppedError(asked, program.stopped_where(taken))
  if not left:
    for run, accuracy in zip(program.runs, program.validate(), strict=True):
      run.save_untrained(accuracy)


def stop_before(stage: Stage, stop: Stop) -> None:
  """Ends training between two stages.

  Raises:
    TrainingStoppedError: `stop` said so.
  """
  if asked := stop():
    raise TrainingStoppedError(
      asked, f"before stage {stage.name}; the same command goes on from there"
    )


def _record(program: Program, taken: int, sums: PyTree) -> None:
  for run, own in zip(program.runs, program.split_sums(sums), strict=True):
    step = run.begin + taken
    if run.takes(step):
      with _divergence_marked(program, run, step):
        run.record(step, own)


def _validate_and_save(program: Program, taken: int) -> None:
  for run, accuracy, tree in zip(program.runs, program.validate(), program.trees(), strict=True):
    step = run.begin + taken
    if run.validates(step):
      with _divergence_marked(program, run, step):
        run.save_validated(step, tree, accuracy)


def _save_between(program: Program, taken: int) -> None:
  for run, tree in zip(program.runs, program.trees(), strict=True):
    step = run.begin + taken
    if run.takes(step) and not run.validates(step):
      with _divergence_marked(program, run, step):
        run.save_between(step, tree)


@contextlib.contextmanager
def _divergence_marked(program: Program, run: StageRun, step: int) -> Iterator[None]:
  try:
    yield
  except TrainingDivergedError as error:
    run.lost = True
    program.mark_diverged(run, step, error)


def _note(program: Program) -> str:
  lost = sum(run.lost for run in program.runs)
  return program.runs[0].log.note + (f", {lost} diverged" if lost else "")
