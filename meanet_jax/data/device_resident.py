"""The images of a split as the devices keep them, for batches to be gathered from."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, UInt8

ROW_BYTES = 128  # next to one another in a TPU's registers and in the tiles of its memory


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ResidentImages:
  """Each image is a run of 128-byte rows, padded with zeros at its end.

  A TPU lays [n, h, w, c] out with the image number innermost, because c is small. Gathering from
  that, its compiler transposes all n images at every step: for CIFAR-100's on a v5e that is 7 of
  the 10 million cycles it estimates for a ResNet-32 step. From rows it transposes none.

  rows: uint8 [n, rows of an image, 128]. shape: height, width, channels.
  """

  rows: Any
  shape: tuple[int, ...] = dataclasses.field(metadata={"static": True})

  @classmethod
  def of(cls, images: UInt8[np.ndarray, "n h w c"]) -> "ResidentImages":
    """On the host; a copy unless images fill their rows."""
    flat = images.reshape(len(images), -1)
    missing = -flat.shape[1] % ROW_BYTES
    if missing:
      flat = np.pad(flat, ((0, 0), (0, missing)))
    return cls(flat.reshape(len(images), -1, ROW_BYTES), images.shape[1:])

  @classmethod
  def abstract(cls, count: int, shape: tuple[int, ...]) -> "ResidentImages":
    """Shapes and types alone."""
    rows = -(-math.prod(shape) // ROW_BYTES)
    return cls(jax.ShapeDtypeStruct((count, rows, ROW_BYTES), jnp.uint8), shape)

  def take(self, index: Int[Array | np.ndarray, " b"]) -> UInt8[Array | np.ndarray, "b h w c"]:
    """The images of these numbers."""
    rows = jnp.take(self.rows, index, axis=0).reshape(len(index), -1)
    return rows[:, : math.prod(self.shape)].reshape(-1, *self.shape)
