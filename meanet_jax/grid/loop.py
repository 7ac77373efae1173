"""A stage of many members: the loop of `training/loop.py`, a round of which is a step of each."""

import contextlib
import signal
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from meanet_jax import log
from meanet_jax.config.grid import GridConfig
from meanet_jax.data.batches import Batch
from meanet_jax.data.splits import Dataset, Split
from meanet_jax.errors import TrainingStoppedError
from meanet_jax.grid.batch_streams import BatchStreams, hard_images, make_batch_streams, make_store
from meanet_jax.grid.step import (
  Batching,
  Carried,
  Sources,
  batch_forwards,
  batch_steps,
  choose_batching,
  make_trial_step,
  stack,
  unstack,
)
from meanet_jax.grid.trial_batches import TrialBatch, make_trial_batches
from meanet_jax.grid.trials import Trial, TrialState, open_trial_state
from meanet_jax.log import logger
from meanet_jax.models.meanet import Exits, MEANet, Outputs
from meanet_jax.routing.hard_classes import label_map
from meanet_jax.stopping import Stop
from meanet_jax.training.parallel import (
  map_members,
  map_members_forward,
  replicate,
  spread,
)
from meanet_jax.training.pipeline import read_hard_classes
from meanet_jax.training.stages import Stage
from meanet_jax.training.steps import exit_logits, make_forward, stage_key

PyTree = Any


def train_trials(
  stage: Stage,
  trials: Sequence[Trial],
  model: MEANet,
  dataset: Dataset,
  grid: GridConfig,
  stop: Stop,
  tensorboard: bool = False,
) -> None:
  """Trains a stage of members of one group to its end, each from its own newest checkpoint.

  Afterwards each has the variables that it learned and, of the stage's exits, the logits of all
  validation images, or is marked as diverged.

  Args:
    stage: not finished by any of them.
    members: of one group, with their variables.
    model: without a mapped axis.
    dataset: which all learn from.
    grid: how they are batched.
    stop: asked after every round whether to save and end.
    tensorboard: whether metrics are TensorBoard's events as well.

  Raises:
    TrainingStoppedError: `stop` said so; checkpoints hold every step taken.
    UserError: fewer images of hard classes than a batch.
  """
  batching = choose_batching(grid.batching)
  with contextlib.ExitStack() as open_seats:
    trial_states = []
    for trial in trials:
      trial_states.append(_seat(trial, stage, dataset, tensorboard))
      open_seats.callback(trial_states[-1].files.close)
    trial_batches = make_trial_batches(trial_states, grid.per_device)
    # Compiled when the first wave calls them, and for no other: every wave has the same shapes.
    program = _Program(stage, trial_states, model, dataset, batching)
    total = sum(
      max(trial_state.steps - trial_state.begin for _, _, trial_state in trial_batch.seated())
      for trial_batch in trial_batches
    )
    title = f"stage {stage.name} of {len(trials)} points"
    with log.progress(title, total) as advance:
      for trial_batch in trial_batches:
        _train_wave(trial_batch, program, lambda note: advance(1, note), stop)
  for trial in trials:
    found = trial.diverged
    logger.info(f"point {trial.point.name}: {found or f'stage {stage.name} finished'}")


def _seat(trial: Trial, stage: Stage, dataset: Dataset, tensorboard: bool) -> TrialState:
  images, classes, to_hard = len(dataset.train), None, None
  if Exits.EXTENSION in stage.exits:
    found = read_hard_classes(trial.run)
    to_hard = label_map(found, trial.config.dataset.num_classes)
    classes = tuple(int(c) for c in found)
    if stage.images == "hard":
      images = len(hard_images(dataset.train, to_hard)[0])
  return open_trial_state(trial, stage, images, classes, to_hard, tensorboard)


class _Program:
  """A stage's two mapped functions, and what they take that does not change from step to step."""

  def __init__(
    self,
    stage: Stage,
    trial_states: Sequence[TrialState],
    model: MEANet,
    dataset: Dataset,
    batching: Batching,
  ):
    config = trial_states[0].trial.config
    self.stage, self.batching, self.dataset = stage, batching, dataset
    self.settings = config.stage(stage.name)
    self.padded_steps = max(trial_state.steps for trial_state in trial_states)
    # The first feeds tell what of the augmentation is left to the device.
    maps = [trial_states[0].to_hard if stage.images == "hard" else None]
    _, settings = make_batch_streams(
      [trial_states[0].source], stage.name, self.settings, dataset.train, maps
    )
    dropout = any(
      float(trial_state.constants(trial_state.steps, 0).dropout) for trial_state in trial_states
    )
    trial = make_trial_step(model, stage, settings, config.dataset, dropout)
    self.store = replicate(make_store(dataset.train))
    self.step = map_members(
      lambda carried, constants, store, batches: batch_steps(trial, batching)(
        carried, constants, store, batches
      )
    )
    self.forward = map_members_forward(batch_forwards(model, stage, config.dataset, batching))
    self.batch_size = config.evaluation.batch_size

  def streams(self, trial_batch: TrialBatch) -> BatchStreams:
    """The batches of a wave's sources."""
    by_source = {
      trial_state.source: trial_state.to_hard for _, _, trial_state in trial_batch.seated()
    }
    hard = self.stage.images == "hard"
    maps = [by_source[source] if hard else None for source in trial_batch.sources]
    return make_batch_streams(
      trial_batch.sources, self.stage.name, self.settings, self.dataset.train, maps
    )[0]

  def constants(self, trial_batch: TrialBatch) -> PyTree:
    """The members' numbers and the devices' sources, on the devices."""
    rows = []
    for device, own in enumerate(trial_batch.trial_states):
      there = list(trial_batch.source_numbers[device])
      filled = [trial_state or trial_batch.seated()[0][2] for trial_state in own]
      rows.append(
        [
          trial_state.constants(
            self.padded_steps,
            there.index(number)
            if (number := trial_batch.sources.index(trial_state.source)) in there
            else 0,
          )
          for trial_state in filled
        ]
      )
    keys = [
      jax.random.key_data(stage_key(source.seed, self.stage.name)) for source in trial_batch.sources
    ]
    to_hard = None
    if self.stage.name == "edge" and self.stage.images == "all":
      maps = {trial_state.source: trial_state.to_hard for _, _, trial_state in trial_batch.seated()}
      to_hard = np.stack([maps[source] for source in trial_batch.sources])[
        trial_batch.source_numbers
      ]
    sources = Sources(np.stack(keys)[trial_batch.source_numbers], to_hard)
    return spread((stack(rows, self.batching), sources))

  def carried(self, trial_batch: TrialBatch) -> PyTree:
    """What the members start from, on the devices; empty places are copies that never live."""
    first = trial_batch.seated()[0][2]
    rows = [
      [
        Carried((trial_state or first).state, np.asarray(trial_state is not None))
        for trial_state in own
      ]
      for own in trial_batch.trial_states
    ]
    return spread(stack(rows, self.batching))

  def logits(self, carried: PyTree, split: Split) -> Outputs:
    """Of every image of a split [devices, m, n, ...], on the host, per exit of the stage."""
    parts = []
    for images, real in split.batches(self.batch_size):
      outputs = jax.device_get(self.forward(carried, images))
      parts.append(jax.tree.map(lambda x, real=real: x[:, :, :real], outputs))
    return jax.tree.map(lambda *x: np.concatenate(x, axis=2), *parts)


def _train_wave(
  trial_batch: TrialBatch, program: _Program, advance: Callable[[str], None], stop: Stop
) -> None:
  carried, constants = program.carried(trial_batch), program.constants(trial_batch)
  rounds = max(trial_state.steps - trial_state.begin for _, _, trial_state in trial_batch.seated())
  pending: tuple[int, PyTree] | None = None

  def hand_out() -> None:
    # One round late, so that the devices never wait.
    nonlocal pending
    if pending is None:
      return
    round, sums = pending[0], jax.device_get(pending[1])
    pending = None
    for device, place, trial_state in trial_batch.seated():
      trial_state.record(round, {name: values[device, place] for name, values in sums.items()})

  for round, batches in enumerate(_ahead(program.streams(trial_batch).stream(rounds), trial_batch)):
    carried, sums = program.step(carried, constants, program.store, batches)
    hand_out()
    pending = (round, sums)
    if any(trial_state.saves(round) for _, _, trial_state in trial_batch.seated()):
      hand_out()
      _save(trial_batch, program, carried, round)
    advance(_note(trial_batch))
    if round + 1 < rounds and (asked := stop()):
      hand_out()
      _stop(trial_batch, program, carried, round, asked)
  if not rounds:
    _save_untrained(trial_batch, program, carried)


def _ahead(made: Any, trial_batch: TrialBatch) -> Any:
  """Batches laid out by device, each put there while the one before it is worked on."""

  def on_devices(batch: Batch) -> Batch:
    return spread({name: value[trial_batch.source_numbers] for name, value in batch.items()})

  waiting = None
  for batch in made:
    following = on_devices(batch)
    if waiting is not None:
      yield waiting
    waiting = following
  if waiting is not None:
    yield waiting


def _save(trial_batch: TrialBatch, program: _Program, carried: PyTree, round: int) -> None:
  outputs = program.logits(carried, program.dataset.validation)
  on_host = jax.device_get(carried)
  for device, place, trial_state in trial_batch.seated():
    if not trial_state.saves(round):
      continue
    state = unstack(on_host, device, place, program.batching).state
    own = jax.tree.map(lambda x, at=(device, place): x[at], outputs)
    trial_state.save(round, state, _accuracy(trial_state, own, program.dataset.validation))
    if trial_state.begin + round + 1 == trial_state.steps:
      _hand_on(trial_state, state, own)


def _save_untrained(trial_batch: TrialBatch, program: _Program, carried: PyTree) -> None:
  """Pretrained weights that a stage of no epochs keeps as they are."""
  outputs = program.logits(carried, program.dataset.validation)
  for device, place, trial_state in trial_batch.seated():
    own = jax.tree.map(lambda x, at=(device, place): x[at], outputs)
    trial_state.keep(_accuracy(trial_state, own, program.dataset.validation))
    _hand_on(trial_state, trial_state.state, own)


def _hand_on(trial_state: TrialState, state: Any, outputs: Outputs) -> None:
  trial_state.trial.variables.update(state.learned())
  for exit in trial_state.stage.exits:
    trial_state.trial.logits[exit] = exit_logits(outputs, exit)


def _stop(
  trial_batch: TrialBatch, program: _Program, carried: PyTree, round: int, asked: signal.Signals
) -> None:
  on_host = jax.device_get(carried)
  for device, place, trial_state in trial_batch.seated():
    if trial_state.takes(round) and not trial_state.saves(round):
      trial_state.stop(round, unstack(on_host, device, place, program.batching).state)
  raise TrainingStoppedError(
    asked,
    f"in stage {program.stage.name}; checkpoints hold every point's steps, and the same command "
    "goes on from there",
  )


def _accuracy(trial_state: TrialState, outputs: Outputs, validation: Split) -> float:
  """Of the stage's watched exit, on the validation images that the stage knows."""
  to_hard = trial_state.to_hard if trial_state.stage.images == "hard" else None
  chosen, labels = hard_images(validation, to_hard)
  logits: Float[np.ndarray, "n c"] = exit_logits(outputs, trial_state.stage.watched)
  return float(np.mean(np.argmax(logits[chosen], axis=-1) == labels))


def _note(trial_batch: TrialBatch) -> str:
  lost = sum(trial_state.lost for _, _, trial_state in trial_batch.seated())
  return trial_batch.seated()[0][2].log.note + (f", {lost} diverged" if lost else "")


def validation_logits(
  exits: Exits, trials: Sequence[Trial], model: MEANet, dataset: Dataset
) -> None:
  """Gives members the logits that they lack, of stages that an earlier process has trained.

  One after another through one compiled function: this is done at most once for a point.
  """
  config = trials[0].config
  # Not `ForwardPass`, which all processes of a run call together: these are this one's members.
  forward = jax.jit(make_forward(model, exits, config.dataset))
  for trial in trials:
    parts = []
    for images, real in dataset.validation.batches(config.evaluation.batch_size):
      outputs = jax.device_get(forward(trial.variables, images))
      parts.append(jax.tree.map(lambda x, real=real: x[:real], outputs))
    whole = jax.tree.map(lambda *x: np.concatenate(x), *parts)
    for exit in exits:
      trial.logits[exit] = exit_logits(whole, exit)
