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
from meanet_jax.grid.batch_streams import Feeds, hard_images, make_feeds, make_store
from meanet_jax.grid.step import (
  Batching,
  Carried,
  Sources,
  batch_forwards,
  batch_steps,
  choose_batching,
  make_member_step,
  stack,
  unstack,
)
from meanet_jax.grid.trial_batches import Wave, make_waves
from meanet_jax.grid.trials import Member, Seat, take_seat
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


def train_members(
  stage: Stage,
  members: Sequence[Member],
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
    seats = []
    for member in members:
      seats.append(_seat(member, stage, dataset, tensorboard))
      open_seats.callback(seats[-1].files.close)
    waves = make_waves(seats, grid.per_device)
    # Compiled when the first wave calls them, and for no other: every wave has the same shapes.
    program = _Program(stage, seats, model, dataset, batching)
    total = sum(max(seat.steps - seat.begin for _, _, seat in wave.seated()) for wave in waves)
    title = f"stage {stage.name} of {len(members)} points"
    with log.progress(title, total) as advance:
      for wave in waves:
        _train_wave(wave, program, lambda note: advance(1, note), stop)
  for member in members:
    found = member.diverged
    logger.info(f"point {member.point.name}: {found or f'stage {stage.name} finished'}")


def _seat(member: Member, stage: Stage, dataset: Dataset, tensorboard: bool) -> Seat:
  images, classes, to_hard = len(dataset.train), None, None
  if Exits.EXTENSION in stage.exits:
    found = read_hard_classes(member.run)
    to_hard = label_map(found, member.config.dataset.num_classes)
    classes = tuple(int(c) for c in found)
    if stage.images == "hard":
      images = len(hard_images(dataset.train, to_hard)[0])
  return take_seat(member, stage, images, classes, to_hard, tensorboard)


class _Program:
  """A stage's two mapped functions, and what they take that does not change from step to step."""

  def __init__(
    self,
    stage: Stage,
    seats: Sequence[Seat],
    model: MEANet,
    dataset: Dataset,
    batching: Batching,
  ):
    config = seats[0].member.config
    self.stage, self.batching, self.dataset = stage, batching, dataset
    self.settings = config.stage(stage.name)
    self.padded_steps = max(seat.steps for seat in seats)
    # The first feeds tell what of the augmentation is left to the device.
    maps = [seats[0].to_hard if stage.images == "hard" else None]
    _, settings = make_feeds([seats[0].source], stage.name, self.settings, dataset.train, maps)
    dropout = any(float(seat.constants(seat.steps, 0).dropout) for seat in seats)
    member = make_member_step(model, stage, settings, config.dataset, dropout)
    self.store = replicate(make_store(dataset.train))
    self.step = map_members(
      lambda carried, constants, store, batches: batch_steps(member, batching)(
        carried, constants, store, batches
      )
    )
    self.forward = map_members_forward(batch_forwards(model, stage, config.dataset, batching))
    self.batch_size = config.evaluation.batch_size

  def feeds(self, wave: Wave) -> Feeds:
    """The batches of a wave's sources."""
    by_source = {seat.source: seat.to_hard for _, _, seat in wave.seated()}
    hard = self.stage.images == "hard"
    maps = [by_source[source] if hard else None for source in wave.sources]
    return make_feeds(wave.sources, self.stage.name, self.settings, self.dataset.train, maps)[0]

  def constants(self, wave: Wave) -> PyTree:
    """The members' numbers and the devices' sources, on the devices."""
    rows = []
    for device, own in enumerate(wave.seats):
      there = list(wave.source_numbers[device])
      filled = [seat or wave.seated()[0][2] for seat in own]
      rows.append(
        [
          seat.constants(
            self.padded_steps,
            there.index(number) if (number := wave.sources.index(seat.source)) in there else 0,
          )
          for seat in filled
        ]
      )
    keys = [jax.random.key_data(stage_key(source.seed, self.stage.name)) for source in wave.sources]
    to_hard = None
    if self.stage.name == "edge" and self.stage.images == "all":
      maps = {seat.source: seat.to_hard for _, _, seat in wave.seated()}
      to_hard = np.stack([maps[source] for source in wave.sources])[wave.source_numbers]
    sources = Sources(np.stack(keys)[wave.source_numbers], to_hard)
    return spread((stack(rows, self.batching), sources))

  def carried(self, wave: Wave) -> PyTree:
    """What the members start from, on the devices; empty places are copies that never live."""
    first = wave.seated()[0][2]
    rows = [
      [Carried((seat or first).state, np.asarray(seat is not None)) for seat in own]
      for own in wave.seats
    ]
    return spread(stack(rows, self.batching))

  def logits(self, carried: PyTree, split: Split) -> Outputs:
    """Of every image of a split [devices, m, n, ...], on the host, per exit of the stage."""
    parts = []
    for images, real in split.batches(self.batch_size):
      outputs = jax.device_get(self.forward(carried, images))
      parts.append(jax.tree.map(lambda x, real=real: x[:, :, :real], outputs))
    return jax.tree.map(lambda *x: np.concatenate(x, axis=2), *parts)


def _train_wave(wave: Wave, program: _Program, advance: Callable[[str], None], stop: Stop) -> None:
  carried, constants = program.carried(wave), program.constants(wave)
  rounds = max(seat.steps - seat.begin for _, _, seat in wave.seated())
  pending: tuple[int, PyTree] | None = None

  def hand_out() -> None:
    # One round late, so that the devices never wait.
    nonlocal pending
    if pending is None:
      return
    round, sums = pending[0], jax.device_get(pending[1])
    pending = None
    for device, place, seat in wave.seated():
      seat.record(round, {name: values[device, place] for name, values in sums.items()})

  for round, batches in enumerate(_ahead(program.feeds(wave).stream(rounds), wave)):
    carried, sums = program.step(carried, constants, program.store, batches)
    hand_out()
    pending = (round, sums)
    if any(seat.saves(round) for _, _, seat in wave.seated()):
      hand_out()
      _save(wave, program, carried, round)
    advance(_note(wave))
    if round + 1 < rounds and (asked := stop()):
      hand_out()
      _stop(wave, program, carried, round, asked)
  if not rounds:
    _save_untrained(wave, program, carried)


def _ahead(made: Any, wave: Wave) -> Any:
  """Batches laid out by device, each put there while the one before it is worked on."""

  def on_devices(batch: Batch) -> Batch:
    return spread({name: value[wave.source_numbers] for name, value in batch.items()})

  waiting = None
  for batch in made:
    following = on_devices(batch)
    if waiting is not None:
      yield waiting
    waiting = following
  if waiting is not None:
    yield waiting


def _save(wave: Wave, program: _Program, carried: PyTree, round: int) -> None:
  outputs = program.logits(carried, program.dataset.validation)
  on_host = jax.device_get(carried)
  for device, place, seat in wave.seated():
    if not seat.saves(round):
      continue
    state = unstack(on_host, device, place, program.batching).state
    own = jax.tree.map(lambda x, at=(device, place): x[at], outputs)
    seat.save(round, state, _accuracy(seat, own, program.dataset.validation))
    if seat.begin + round + 1 == seat.steps:
      _hand_on(seat, state, own)


def _save_untrained(wave: Wave, program: _Program, carried: PyTree) -> None:
  """Pretrained weights that a stage of no epochs keeps as they are."""
  outputs = program.logits(carried, program.dataset.validation)
  for device, place, seat in wave.seated():
    own = jax.tree.map(lambda x, at=(device, place): x[at], outputs)
    seat.keep(_accuracy(seat, own, program.dataset.validation))
    _hand_on(seat, seat.state, own)


def _hand_on(seat: Seat, state: Any, outputs: Outputs) -> None:
  seat.member.variables.update(state.learned())
  for exit in seat.stage.exits:
    seat.member.logits[exit] = exit_logits(outputs, exit)


def _stop(
  wave: Wave, program: _Program, carried: PyTree, round: int, asked: signal.Signals
) -> None:
  on_host = jax.device_get(carried)
  for device, place, seat in wave.seated():
    if seat.takes(round) and not seat.saves(round):
      seat.stop(round, unstack(on_host, device, place, program.batching).state)
  raise TrainingStoppedError(
    asked,
    f"in stage {program.stage.name}; checkpoints hold every point's steps, and the same command "
    "goes on from there",
  )


def _accuracy(seat: Seat, outputs: Outputs, validation: Split) -> float:
  """Of the stage's watched exit, on the validation images that the stage knows."""
  to_hard = seat.to_hard if seat.stage.images == "hard" else None
  chosen, labels = hard_images(validation, to_hard)
  logits: Float[np.ndarray, "n c"] = exit_logits(outputs, seat.stage.watched)
  return float(np.mean(np.argmax(logits[chosen], axis=-1) == labels))


def _note(wave: Wave) -> str:
  lost = sum(seat.lost for _, _, seat in wave.seated())
  return wave.seated()[0][2].log.note + (f", {lost} diverged" if lost else "")


def validation_logits(
  exits: Exits, members: Sequence[Member], model: MEANet, dataset: Dataset
) -> None:
  """Gives members the logits that they lack, of stages that an earlier process has trained.

  One after another through one compiled function: this is done at most once for a point.
  """
  config = members[0].config
  # Not `ForwardPass`, which all processes of a run call together: these are this one's members.
  forward = jax.jit(make_forward(model, exits, config.dataset))
  for member in members:
    parts = []
    for images, real in dataset.validation.batches(config.evaluation.batch_size):
      outputs = jax.device_get(forward(member.variables, images))
      parts.append(jax.tree.map(lambda x, real=real: x[:real], outputs))
    whole = jax.tree.map(lambda *x: np.concatenate(x), *parts)
    for exit in exits:
      member.logits[exit] = exit_logits(whole, exit)
