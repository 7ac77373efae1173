"""Where images wait on the device until a batch of them needs the same program."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

PyTree = Any


class Pool:
  """Rows of many batches that wait on the device until they fill a batch of their own."""

  def __init__(
    self,
    run: Callable[[PyTree, int], Array],
    batch_size: int,
    logits: Float[np.ndarray, "n k"],
  ):
    """Begins with no rows.

    Args:
      run: from the waiting rows and a static size to the logits [size, k] of the first rows.
      batch_size: rows of every batch, and of every run but the last.
      logits: written by `finish`, at the numbers of the images that were added.
    """
    self._run, self._batch_size, self._logits = run, batch_size, logits
    self._waiting: PyTree = None
    self._numbers: Int[np.ndarray, " m"] = np.zeros(0, np.int64)
    self._running: list[tuple[Int[np.ndarray, " m"], Array]] = []

  def add(self, rows: PyTree, chosen: Int[np.ndarray, " m"], start: int) -> None:
    """Takes rows of a batch, and runs once a batch of them waits.

    Args:
      rows: arrays [batch_size, ...] on the device.
      chosen: their numbers in the batch, increasing.
      start: the number of the batch's first image.
    """
    if not len(chosen):
      return
    if self._waiting is None:
      self._waiting = _make_room(rows)
    # Padded with images that were chosen: an image that was not never meets the extension.
    index = np.resize(chosen, self._batch_size).astype(np.int32)
    self._waiting = _append(self._waiting, rows, index, np.int32(len(self._numbers)))
    self._numbers = np.concatenate([self._numbers, chosen + start])
    if len(self._numbers) >= self._batch_size:
      self._start(self._batch_size)
      self._waiting = _advance(self._waiting)

  def finish(self) -> None:
    """Runs what still waits, and writes the logits of every image that was added."""
    if len(self._numbers):
      sizes = bucket_sizes(self._batch_size)
      self._start(next(size for size in sizes if size >= len(self._numbers)))
    for numbers, logits in self._running:
      self._logits[numbers] = np.asarray(logits)[: len(numbers)]

  def _start(self, size: int) -> None:
    self._running.append((self._numbers[:size], self._run(self._waiting, size)))
    self._numbers = self._numbers[size:]


def bucket_sizes(batch_size: int) -> list[int]:
  """Powers of two below the batch size, and the batch size."""
  return [2**power for power in range((batch_size - 1).bit_length())] + [batch_size]


@jax.jit
def _make_room(rows: PyTree) -> PyTree:
  # Fewer than a batch ever wait when a batch arrives, so two batches of room suffice.
  return jax.tree.map(lambda x: jnp.zeros((2 * x.shape[0], *x.shape[1:]), x.dtype), rows)


def _append_rows(waiting: PyTree, rows: PyTree, index: Array, filled: Array) -> PyTree:
  """Writes rows[index] behind the first `filled` that wait."""
  return jax.tree.map(
    lambda old, new: jax.lax.dynamic_update_slice_in_dim(
      old, jnp.take(new, index, axis=0, mode="clip"), filled, axis=0
    ),
    waiting,
    rows,
  )


_append = jax.jit(_append_rows, donate_argnums=0)


@jax.jit
def _advance(waiting: PyTree) -> PyTree:
  """Drops the first half, which the extension has taken."""
  return jax.tree.map(lambda x: jnp.roll(x, x.shape[0] // 2, axis=0), waiting)
