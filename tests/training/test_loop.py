"""What the loop watches over while it trains."""

import json
import signal
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meanet_jax.config.schema import Config
from meanet_jax.data.sources import load
from meanet_jax.errors import TrainingDivergedError, TrainingStoppedError
from meanet_jax.models.meanet import BLOCKS
from meanet_jax.models.variables import init_variables
from meanet_jax.models.zoo import build
from meanet_jax.runs.checkpoints import finished_step
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.runs.stage_files import StageFiles
from meanet_jax.training import run_stage, stages
from meanet_jax.training.context import RunContext
from meanet_jax.training.loop import take_steps
from meanet_jax.training.stage_images import stage_images
from meanet_jax.training.stage_run import StageRun, open_stage_run
from meanet_jax.training.state import SUMS, saved


def train_main(config: Config, path: Path) -> RunDirectory:
  run, dataset = RunDirectory.create(path, config), load(config.dataset)
  variables = init_variables(build(config), 0, config.dataset.image_shape, BLOCKS)
  images = stage_images(stages.MAIN, dataset, None)
  context = RunContext(config, build(config, "batch"), dataset, run)
  run_stage.train_stage(stages.MAIN, context, variables, images)
  return run


def test_other_shapes_are_refused_instead_of_compiled(tiny, tmp_path, monkeypatch):
  original = run_stage.ahead

  def shrinking(batches):
    for number, batch in enumerate(original(batches)):
      yield batch if number < 2 else jax.tree.map(lambda x: x[:, :32], batch)

  monkeypatch.setattr(run_stage, "ahead", shrinking)
  with pytest.raises(RuntimeError, match="stage main: its step would be compiled again"):
    train_main(tiny, tmp_path)


def test_a_state_that_is_not_finite_is_not_saved(tiny, tmp_path, monkeypatch):
  """Where the losses are: here the 22nd step, which is the last, overflows."""
  original = run_stage.map_train_step

  def overflowing(step):
    def damaged(state, batch, key):
      after, sums = step(state, batch, key)
      factor = jnp.where(after.step == 22, jnp.inf, 1.0).astype(jnp.float32)
      return after.replace(params=jax.tree.map(lambda x: x * factor, after.params)), sums

    return original(damaged)

  monkeypatch.setattr(run_stage, "map_train_step", overflowing)
  with pytest.raises(
    TrainingDivergedError, match="stage main, step 22: the state after it has NaN"
  ):
    train_main(tiny, tmp_path)
  assert finished_step(tmp_path / "checkpoints" / "main") == 11


class Recorder(StageFiles):
  """What happened, in order, of a run whose newest checkpoint is at step `begin`."""

  def __init__(self, events: list[str], begin: int = 0):
    self._events, self._begin = events, begin

  def begin(self, like):  # noqa: ARG002
    return self._begin, None

  def metrics(self, step, epoch, values):  # noqa: ARG002
    self._events.append(f"line {step}: {', '.join(values)}".removesuffix(OTHERS))

  def save(self, step, tree, accuracy=None):
    examples = float(tree["sums"]["examples"])
    self._events.append(f"saved {step}: accuracy {accuracy}, {examples:g} examples not logged")


OTHERS = ", accuracy, gradient_norm, learning_rate"


class Sums:
  """A step's sums on the devices: to ask for them is to wait for the step."""

  def __init__(self, step: int, events: list[str]):
    self._step, self._events = step, events

  def __array__(self):
    self._events.append(f"fetched {self._step}")
    return np.asarray(self._step)


class Recorded:
  """A `Program` whose steps do nothing; the loss of its run number i is not finite at `lost[i]`."""

  def __init__(self, runs: Sequence[StageRun], events: list[str], lost: dict[int, int]):
    self.runs, self._events, self._lost = runs, events, lost
    self.steps = 0

  def batches(self):
    yield from range(max(run.steps - run.begin for run in self.runs))

  def step(self, batch):
    self.steps = batch + 1
    self._events.append(f"dispatched {self.steps}")
    return Sums(self.steps, self._events)

  def split_sums(self, sums):
    one = {name: np.float32(1) for name in SUMS}
    lost = [sums == self._lost.get(number) for number in range(len(self.runs))]
    return [one | {"loss": np.float32(np.nan if nan else 1)} for nan in lost]

  def validate(self):
    self._events.append(f"validated {self.steps}")
    return [0.5] * len(self.runs)

  def trees(self):
    return [saved(run.state) for run in self.runs]

  def mark_diverged(self, run, step, error):
    self._events.append(f"run {self.runs.index(run)} lost at {step}: {error}".partition(";")[0])

  def stopped_where(self, taken):
    return f"after {taken}"


@pytest.fixture
def open_run(tiny, tmp_path):
  """Makes a run of ten steps, two epochs, with a line every three; from its step `begin`."""
  dataset, model = load(tiny.dataset), build(tiny)
  context = RunContext(tiny, model, dataset, RunDirectory(tmp_path))
  variables = jax.device_get(init_variables(model, 0, tiny.dataset.image_shape, ("main",)))

  def make(events: list[str], begin: int = 0) -> StageRun:
    files = Recorder(events, begin)
    return open_stage_run(stages.MAIN, context, variables, 5 * 64, lambda *_: files)

  return make


def never() -> None:
  return None


def test_no_sum_is_fetched_before_the_next_step_is_dispatched(open_run):
  """But for those that a checkpoint waits for."""
  events: list[str] = []
  take_steps(Recorded([open_run(events)], events, {}), never, lambda *_: None)
  assert events == [
    *("dispatched 1", "dispatched 2", "fetched 1", "dispatched 3", "fetched 2"),
    *("dispatched 4", "fetched 3", "line 3: loss", "dispatched 5", "fetched 4"),
    *("fetched 5", "line 5: loss", "validated 5", "line 5: validation_accuracy"),
    "saved 5: accuracy 0.5, 0 examples not logged",
    *("dispatched 6", "dispatched 7", "fetched 6", "line 6: loss", "dispatched 8", "fetched 7"),
    *("dispatched 9", "fetched 8", "dispatched 10", "fetched 9", "line 9: loss"),
    *("fetched 10", "line 10: loss", "validated 10", "line 10: validation_accuracy"),
    "saved 10: accuracy 0.5, 0 examples not logged",
  ]


def test_runs_of_one_program_are_at_steps_of_their_own_and_lost_alone(open_run):
  together: list[str] = []
  each: list[list[str]] = [[], [], []]
  runs = [open_run(each[0]), open_run(each[1], begin=8), open_run(each[2], begin=3)]
  program = Recorded(runs, together, {2: 2})
  take_steps(program, never, lambda *_: None)
  assert program.steps == 10
  assert [event for event in each[0] if "saved" in event or "validation" in event] == [
    *("line 5: validation_accuracy", "saved 5: accuracy 0.5, 0 examples not logged"),
    *("line 10: validation_accuracy", "saved 10: accuracy 0.5, 0 examples not logged"),
  ]
  assert each[1] == [
    *("line 9: loss", "line 10: loss", "line 10: validation_accuracy"),
    "saved 10: accuracy 0.5, 0 examples not logged",
  ]
  # At its fifth step, the second here: it would have been validated and saved.
  assert each[2] == []
  assert [event for event in together if "lost" in event] == [
    "run 2 lost at 5: stage main, step 5: the loss is nan"
  ]
  assert [run.lost for run in runs] == [False, False, True]


def test_stopped_between_two_checkpoints_every_run_that_trains_is_saved(open_run):
  each: list[list[str]] = [[], [], []]
  runs = [open_run(each[0]), open_run(each[1], begin=8), open_run(each[2], begin=1)]
  asked = iter([None, None, None, signal.SIGTERM])
  with pytest.raises(TrainingStoppedError, match="stopped by SIGTERM after 4"):
    take_steps(Recorded(runs, [], {}), lambda: next(asked), lambda *_: None)
  assert each[0] == ["line 3: loss", "saved 4: accuracy None, 1 examples not logged"]
  assert each[1][-1] == "saved 10: accuracy 0.5, 0 examples not logged"  # finished before
  assert each[2][-1] == "saved 5: accuracy 0.5, 0 examples not logged"  # validated just now


def test_time_is_told_beside_the_metrics(finished_run):
  metrics, timing = (
    [json.loads(line) for line in path.read_text().splitlines()]
    for path in (finished_run.metrics_path, finished_run.timing_path)
  )
  logged = [line for line in metrics if "loss" in line]
  assert [(line["stage"], line["step"]) for line in logged] == [
    (line["stage"], line["step"]) for line in timing
  ]
  assert {"loss", "accuracy", "gradient_norm", "learning_rate"} <= logged[0].keys()
  assert not any("second" in name for line in metrics for name in line)
  first = [line["stage"] for line in timing if "first_step_seconds" in line]
  assert first == ["main", "edge", "cloud"]
  for line in timing:
    assert line["images_per_second"] * line["step_seconds"] == pytest.approx(64)
