"""The forward pass over any number of images: padded batches, masked results."""

from typing import Any

import jax
import numpy as np

from meanet_jax.config.schema import DatasetConfig
from meanet_jax.data.splits import Split
from meanet_jax.models.meanet import Exits, MEANet, Outputs
from meanet_jax.models.variables import Variables
from meanet_jax.training.parallel import map_forward, shard
from meanet_jax.training.steps import make_forward


class ForwardPass:
  """Logits of the exits in a mask, compiled once for one batch size, on all devices.

  With several processes, all of them call it together, each reads its own part of every batch, and
  all get the logits of all images; or one of them calls it `alone`, on its own devices.
  """

  def __init__(
    self,
    model: MEANet,
    exits: Exits,
    dataset: DatasetConfig,
    batch_size: int,
    alone: bool = False,
  ):
    devices = jax.local_devices() if alone else None
    self._mapped = map_forward(make_forward(model, exits, dataset), devices)
    self._batch_size = batch_size
    self._part = (0, 1) if alone else (jax.process_index(), jax.process_count())

  def __call__(self, variables: Variables, split: Split) -> Outputs:
    """NumPy logits [n, ...] per exit, None outside the mask; n is any number of at least 1.

    Args:
      variables: replicated, of at least the blocks that the mask needs.
      split: n images, in any number of batches.
    """
    pending: Any = None
    parts = []
    for batch, real in split.batches(self._batch_size, *self._part):
      outputs = self._mapped(variables, shard(batch))
      if pending is not None:  # fetched one batch late, so that the devices never wait
        parts.append(_real(*pending))
      pending = (outputs, real)
    parts.append(_real(*pending))
    return jax.tree.map(lambda *logits: np.concatenate(logits), *parts)


def _real(outputs: Outputs, real: int) -> Outputs:
  return jax.tree.map(lambda logits: np.asarray(logits)[:real], outputs)
