"""A stage of several trials as the training loop's `Program`: a step of it is a step of each."""

import contextlib
from collections.abc import Generator, Sequence
from typing import Any

import jax
import numpy as np

from meanet_jax.data.batches import Batch
from meanet_jax.data.splits import Split
from meanet_jax.errors import TrainingDivergedError
from meanet_jax.grid.batch_streams import BatchStreams, make_batch_streams, make_store
from meanet_jax.grid.step import (
  Batching,
  Carried,
  Sources,
  batch_forwards,
  batch_steps,
  make_trial_step,
  stack,
  unstack,
)
from meanet_jax.grid.trial_batches import TrialBatch
from meanet_jax.grid.trials import TrialState
from meanet_jax.models.meanet import Outputs
from meanet_jax.training.parallel import ahead, map_trials, map_trials_forward, replicate, spread
from meanet_jax.training.stage_run import StageRun, Tree
from meanet_jax.training.state import saved
from meanet_jax.training.steps import stage_key

PyTree = Any


class StageFunctions:
  """The mapped step and forward pass of a stage, and the images that they share.

  Each is compiled when the first trial batch calls it, and for no other: all have the same shapes.
  """

  def __init__(self, trial_states: Sequence[TrialState], batching: Batching):
    first = trial_states[0]
    context, stage = first.trial.context, first.run.stage
    config, train = context.config, context.dataset.train
    self.stage, self.batching = stage, batching
    self.padded_steps = max(state.run.steps for state in trial_states)
    # Of the augmentation, streams leave to the device what these settings keep.
    _, settings = make_batch_streams(
      [first.source], stage.name, config.stage(stage.name), train, [first.image_map]
    )
    dropout = any(float(state.constants(state.run.steps, 0).dropout) for state in trial_states)
    trial_step = make_trial_step(context.model, stage, settings, config.dataset, dropout)
    self.store = replicate(make_store(train))
    self.step = map_trials(batch_steps(trial_step, batching))
    self.forward = map_trials_forward(
      batch_forwards(context.model, stage, config.dataset, batching)
    )


class TrialProgram:
  """The loop's `Program` of a batch of trials."""

  def __init__(self, functions: StageFunctions, trial_batch: TrialBatch):
    self._functions, self._trial_batch = functions, trial_batch
    self._placed = trial_batch.placed()
    self._states = [state for _, _, state in self._placed]
    self.runs = [state.run for state in self._states]
    self._outputs: list[Outputs] = []  # of all validation images, when last validated
    self._carried, self._constants = self._initial(), self._numbers()

  def batches(self) -> Generator[Batch, None, None]:
    """See `Program`."""
    numbers = self._trial_batch.source_numbers

    def by_device(batch: Batch) -> Batch:
      return {name: value[numbers] for name, value in batch.items()}

    with contextlib.closing(self._streams().stream(self._trial_batch.steps)) as stream:
      yield from ahead(stream, by_device)

  def step(self, batch: Batch) -> PyTree:
    """See `Program`."""
    functions = self._functions
    self._carried, sums = functions.step(self._carried, self._constants, functions.store, batch)
    return sums

  def split_sums(self, sums: PyTree) -> list[dict[str, Any]]:
    """See `Program`."""
    return [
      {name: values[device, place] for name, values in sums.items()}
      for device, place, _ in self._placed
    ]

  def validate(self) -> list[float]:
    """See `Program`."""
    outputs = self._logits(self._states[0].trial.context.dataset.validation)
    self._outputs = [
      jax.tree.map(lambda x, at=(device, place): x[at], outputs)
      for device, place, _ in self._placed
    ]
    return [state.accuracy(own) for state, own in zip(self._states, self._outputs, strict=True)]

  def trees(self) -> list[Tree]:
    """See `Program`."""
    on_host, batching = jax.device_get(self._carried), self._functions.batching
    return [
      saved(unstack(on_host, device, place, batching).state) for device, place, _ in self._placed
    ]

  def mark_diverged(self, run: StageRun, step: int, error: TrainingDivergedError) -> None:
    """See `Program`."""
    (state,) = (state for state in self._states if state.run is run)
    state.trial.mark_diverged(run.stage.name, step, str(error))

  def stopped_where(self, taken: int) -> str:  # noqa: ARG002 - each trial is at a step of its own
    """See `Program`."""
    return (
      f"in stage {self._functions.stage.name}; checkpoints hold every trial's steps, and the same "
      "command goes on from there"
    )

  def hand_on(self) -> None:
    """Gives the trials that are not lost what they have learned, once all steps are taken."""
    for state, outputs in zip(self._states, self._outputs, strict=False):  # none where all are lost
      if not state.run.lost:
        state.hand_on(outputs)

  def _streams(self) -> BatchStreams:
    maps = {state.source: state.image_map for state in self._states}
    sources, name = self._trial_batch.sources, self._functions.stage.name
    context = self._states[0].trial.context
    settings, train = context.config.stage(name), context.dataset.train
    return make_batch_streams(sources, name, settings, train, [maps[s] for s in sources])[0]

  def _initial(self) -> PyTree:
    """What the trials start from, on the devices; empty places are copies that never live."""
    first = self._states[0]
    rows = [
      [Carried((state or first).run.state, np.asarray(state is not None)) for state in own]
      for own in self._trial_batch.trial_states
    ]
    return spread(stack(rows, self._functions.batching))

  def _numbers(self) -> PyTree:
    """The trials' numbers and the devices' sources, on the devices."""
    batch, stage, first = self._trial_batch, self._functions.stage, self._states[0]
    rows = []
    for device, own in enumerate(batch.trial_states):
      there = list(batch.source_numbers[device])
      at = [batch.sources.index((state or first).source) for state in own]
      rows.append(
        [
          (state or first).constants(
            self._functions.padded_steps, there.index(number) if number in there else 0
          )
          for state, number in zip(own, at, strict=True)
        ]
      )
    keys = [jax.random.key_data(stage_key(source.seed, stage.name)) for source in batch.sources]
    to_hard = None
    if stage.needs_hard_classes:
      maps = {state.source: state.to_hard for state in self._states}
      to_hard = np.stack([maps[source] for source in batch.sources])[batch.source_numbers]
    sources = Sources(np.stack(keys)[batch.source_numbers], to_hard)
    return spread((stack(rows, self._functions.batching), sources))

  def _logits(self, split: Split) -> Outputs:
    """Of every image of a split [devices, m, n, ...], on the host, per exit of the stage."""
    batch_size = self._states[0].trial.config.evaluation.batch_size
    parts = []
    for images, real in split.batches(batch_size):
      outputs = jax.device_get(self._functions.forward(self._carried, images))
      parts.append(jax.tree.map(lambda x, real=real: x[:, :, :real], outputs))
    return jax.tree.map(lambda *x: np.concatenate(x, axis=2), *parts)
