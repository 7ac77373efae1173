"""How often a grid's steps are traced and compiled: counted, not timed."""

import dataclasses
from collections.abc import Callable, Iterator

import jax
import pytest

from meanet_jax.config.grid import GridConfig
from meanet_jax.config.schema import Config
from meanet_jax.data.sources import load
from meanet_jax.grid import trial_program
from meanet_jax.grid.context import GridContext
from meanet_jax.grid.run import plan
from meanet_jax.grid.run_stage import train_trials
from meanet_jax.grid.train import open_trial
from meanet_jax.models.variables import init_variables
from meanet_jax.models.zoo import build
from meanet_jax.training.restore import Learned
from meanet_jax.training.stages import MAIN

COMPILED = "/jax/core/compile/backend_compile_duration"


@pytest.fixture
def compiled() -> Iterator[list[str]]:
  """Grows by one for each program that XLA compiles in this process."""
  events: list[str] = []

  def hear(event: str, seconds: float, **details: object) -> None:
    if event == COMPILED:
      events.append(event)

  jax.monitoring.register_event_duration_secs_listener(hear)
  yield events
  jax.monitoring.clear_event_listeners()


@dataclasses.dataclass
class Mapped:
  """A mapped function: how often it was traced, and what each of its calls compiled."""

  traces: int = 0
  compilations: list[int] = dataclasses.field(default_factory=list)


@pytest.fixture
def mapped(compiled: list[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Mapped]]:
  """Of steps and of forward passes, in the order in which they are made."""
  found: dict[str, list[Mapped]] = {"map_trials": [], "map_trials_forward": []}

  def counting(name: str) -> Callable:
    original = getattr(trial_program, name)

    def make(function: Callable) -> Callable:
      counts = Mapped()
      found[name].append(counts)

      def traced(*arguments):
        counts.traces += 1
        return function(*arguments)

      mapping = original(traced)

      def call(*arguments):
        before = len(compiled)
        results = mapping(*arguments)
        counts.compilations.append(len(compiled) - before)
        return results

      return call

    return make

  for name in found:
    monkeypatch.setattr(trial_program, name, counting(name))
  return found


@pytest.mark.parametrize(("batching", "trained"), [("unroll", 2), ("vmap", 1)])
def test_a_group_compiles_once_whatever_its_points_and_waves(
  tiny: Config, tmp_path, mapped, batching, trained
):
  """Three points of one program, two at a time, and with `trained` 2 then one of other widths."""
  stages = dataclasses.replace(tiny.stages, main=dataclasses.replace(tiny.stages.main, epochs=1))
  config = dataclasses.replace(tiny, stages=stages)
  axes = (
    "{seed=0, stages.main.learning_rate=0.2},"
    "{seed=0, stages.main.momentum=0.5, stages.main.weight_decay=0.0},"
    "{seed=1, stages.main.label_smoothing=0.1, model.main.dropout=0.5},"
    "{model.main.structure.widths=(8,)}",
  )
  grid = GridConfig(axes=axes, batching=batching, per_device=2)
  groups, dataset = plan(config, grid), load(config.dataset)
  assert [len(group.points) for group in groups] == [3, 1]
  for group in groups[:trained]:
    model = build(group.config)
    context = GridContext(tmp_path, grid)
    trials = [open_trial(point, model, dataset, context) for point in group.points]
    for trial in trials:
      variables = init_variables(model, trial.config.seed, config.dataset.image_shape, ("main",))
      trial.learned = Learned(lambda _, found=variables: found)
    train_trials(MAIN, trials, grid)
  steps = len(dataset.train) // config.stages.main.batch_size
  assert steps > 5
  batches = -(-len(dataset.validation) // config.evaluation.batch_size)
  for name, calls in (("map_trials", steps), ("map_trials_forward", batches)):
    assert len(mapped[name]) == trained  # one for each group
    for made, trial_batches in zip(mapped[name], (2, 1), strict=False):
      assert made == Mapped(1, [1] + [0] * (trial_batches * calls - 1))
