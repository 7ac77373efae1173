"""Batches: which images step s sees, and the padded batches of an evaluation."""

import dataclasses
import functools
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, UInt8

from meanet_jax.data.sources import Split
from meanet_jax.errors import UserError
from meanet_jax.seeds import name_number

Batch = dict[str, Array | np.ndarray]


def check_split_size(images: int, batch_size: int, stage: str) -> None:
  """Refuses a batch that is larger than the images of its stage."""
  if images < batch_size:
    raise UserError(
      f"stages.{stage}.batch_size is {batch_size}; "
      f"accepted: at most {images}, the stage's number of images"
    )


@dataclasses.dataclass(frozen=True)
class TrainBatches:
  """Batches of a split held in memory; a batch is image numbers, the images stay on the devices.

  The batch at step s is a function of (seed, stage, s) alone: each epoch goes once through a
  permutation drawn from (seed, stage, epoch), and leaves out its last incomplete batch.

  split: the images of the stage. labels: int32 [n], what the stage predicts. batch_size: global.
  """

  split: Split
  labels: Int[np.ndarray, " n"]
  seed: int
  stage: str
  batch_size: int

  def __post_init__(self):
    check_split_size(len(self.split), self.batch_size, self.stage)

  @property
  def steps_per_epoch(self) -> int:
    """Complete batches in the split."""
    return len(self.split) // self.batch_size

  @property
  def store(self) -> Batch:
    """What the devices keep: all images (uint8) and labels (int32) of the stage."""
    return {
      "image": self.split.images,
      "label": self.labels.astype(np.int32),
    }

  def __call__(self, step: int) -> Batch:
    """Image numbers `index` and places in the batch `position`, both int32 [batch_size]."""
    epoch, within = divmod(step, self.steps_per_epoch)
    start = within * self.batch_size
    index = _permutation(self.seed, self.stage, epoch, len(self.split))
    return {
      "index": index[start : start + self.batch_size],
      "position": np.arange(self.batch_size, dtype=np.int32),
    }


def fetch(store: Batch, batch: Batch) -> Batch:
  """On the device: `image`, `label` and `position` of a batch of image numbers."""
  return {
    "image": jnp.take(store["image"], batch["index"], axis=0),
    "label": jnp.take(store["label"], batch["index"], axis=0),
    "position": batch["position"],
  }


def padded_batches(
  images: UInt8[np.ndarray, "n h w c"], batch_size: int
) -> Iterator[tuple[UInt8[np.ndarray, "b h w c"], int]]:
  """All images in order, in batches of one size; the last is padded with zeros.

  Yields:
    A batch and how many of its images are real.
  """
  for start in range(0, len(images), batch_size):
    batch = images[start : start + batch_size]
    padding = batch_size - len(batch)
    yield np.pad(batch, ((0, padding), (0, 0), (0, 0), (0, 0))), len(batch)


@functools.lru_cache(maxsize=2)
def _permutation(seed: int, stage: str, epoch: int, size: int) -> Int[np.ndarray, " n"]:
  rng = np.random.default_rng([seed, name_number(stage), epoch])
  return rng.permutation(size).astype(np.int32)
