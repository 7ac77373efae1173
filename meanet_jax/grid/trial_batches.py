"""Who trains beside whom: members shared out over devices."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from meanet_jax.grid.batch_streams import Source
from meanet_jax.grid.trials import TrialState
from meanet_jax.training.parallel import devices_of_members


@dataclasses.dataclass(frozen=True)
class TrialBatch:
  """Members that train at a time.

  seats: [devices][m], None where a device has fewer than its fellows. sources: different ones;
  those of each device are at `source_numbers` [devices, s], padded with the first.
  """

  trial_states: list[list[TrialState | None]]
  sources: list[Source]
  source_numbers: Int[np.ndarray, "d s"]

  def seated(self) -> list[tuple[int, int, TrialState]]:
    """Device, place on it, and seat of every member."""
    return [
      (device, place, trial_state)
      for device, row in enumerate(self.trial_states)
      for place, trial_state in enumerate(row)
      if trial_state is not None
    ]


def make_trial_batches(trial_states: Sequence[TrialState], per_device: int) -> list[TrialBatch]:
  """Seats shared out over devices, those with a common source beside each other."""
  devices = devices_of_members()
  most = per_device or -(-len(trial_states) // devices)
  ordered = sorted(
    trial_states,
    key=lambda trial_state: (trial_state.source.seed, trial_state.source.classes or ()),
  )
  rows = []
  for start in range(0, len(ordered), devices * most):
    part = ordered[start : start + devices * most]
    share = -(-len(part) // devices)
    row: list[list[TrialState | None]] = []
    for device in range(devices):
      own: list[TrialState | None] = list(part[device * share : (device + 1) * share])
      row.append(own + [None] * (most - len(own)))
    rows.append(row)
  width = max(len({s.source for s in own if s is not None}) for row in rows for own in row)
  return [_wave(row, width) for row in rows]


def _wave(row: list[list[TrialState | None]], width: int) -> TrialBatch:
  sources = list(dict.fromkeys(s.source for own in row for s in own if s is not None))
  numbers = np.zeros((len(row), width), np.int32)
  for device, own in enumerate(row):
    there = dict.fromkeys(sources.index(s.source) for s in own if s is not None)
    numbers[device, : len(there)] = list(there)
  return TrialBatch(row, sources, numbers)
