"""Which trials train beside each other: shared out over devices."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from meanet_jax.grid.batch_streams import Source
from meanet_jax.grid.trials import TrialState
from meanet_jax.training.parallel import devices_of_trials


@dataclasses.dataclass(frozen=True)
class TrialBatch:
  """Trials that one call of a mapped step trains.

  trial_states: [devices][m], None where a device has fewer than the others. sources: different
  ones; those of each device are at `source_numbers` [devices, s], padded with the first.
  """

  trial_states: list[list[TrialState | None]]
  sources: list[Source]
  source_numbers: Int[np.ndarray, "d s"]

  def placed(self) -> list[tuple[int, int, TrialState]]:
    """Device, place on it, and state of every trial."""
    return [
      (device, place, trial_state)
      for device, row in enumerate(self.trial_states)
      for place, trial_state in enumerate(row)
      if trial_state is not None
    ]

  @property
  def steps(self) -> int:
    """That are left of the trial with most of them."""
    return max(state.run.steps - state.run.begin for _, _, state in self.placed())


def make_trial_batches(trial_states: Sequence[TrialState], per_device: int) -> list[TrialBatch]:
  """Trials shared out over devices, those with a common source beside each other."""
  devices = devices_of_trials()
  most = _most_on_a_device(len(trial_states), per_device)
  ordered = sorted(trial_states, key=lambda state: (state.source.seed, state.source.classes or ()))
  batches = []
  for start in range(0, len(ordered), devices * most):
    part = ordered[start : start + devices * most]
    share = -(-len(part) // devices)
    rows: list[list[TrialState | None]] = []
    for device in range(devices):
      own: list[TrialState | None] = list(part[device * share : (device + 1) * share])
      rows.append(own + [None] * (most - len(own)))
    batches.append(rows)
  width = max(len(_sources(own)) for rows in batches for own in rows)
  return [_trial_batch(rows, width) for rows in batches]


def most_seeds_together(seeds: Sequence[int], per_device: int) -> int:
  """The most different seeds in one of the batches that trials with these seeds make.

  It has as many sources, or more where trials of one seed have other hard classes.
  """
  size = devices_of_trials() * _most_on_a_device(len(seeds), per_device)
  ordered = sorted(seeds)
  batches = (ordered[start : start + size] for start in range(0, len(ordered), size))
  return max(len(set(batch)) for batch in batches)


def _most_on_a_device(trials: int, per_device: int) -> int:
  return per_device or -(-trials // devices_of_trials())


def _trial_batch(rows: list[list[TrialState | None]], width: int) -> TrialBatch:
  sources = list(dict.fromkeys(source for own in rows for source in _sources(own)))
  numbers = np.zeros((len(rows), width), np.int32)
  for device, own in enumerate(rows):
    there = [sources.index(source) for source in _sources(own)]
    numbers[device, : len(there)] = there
  return TrialBatch(rows, sources, numbers)


def _sources(trial_states: Sequence[TrialState | None]) -> list[Source]:
  """The different ones, in order."""
  return list(dict.fromkeys(state.source for state in trial_states if state is not None))
