"""SHA-256 of variables: by which networks, and what follows from them, are distinguished."""

import hashlib
from typing import Any

import jax
import numpy as np

from meanet_jax.models.meanet import BLOCKS
from meanet_jax.models.variables import Variables

PyTree = Any


def digest(text: str, arrays: PyTree) -> str:
  """The SHA-256, in hex, of a text and of a tree of arrays: their places, types, shapes, bytes."""
  found = hashlib.sha256(text.encode())
  leaves, _ = jax.tree_util.tree_flatten_with_path(arrays)
  for path, leaf in leaves:
    array = np.ascontiguousarray(leaf)
    # Its name and shape as well: equal bytes in other places are other variables.
    found.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
    found.update(array.data)
  return found.hexdigest()


def edge_digest(variables: Variables, image_shape: tuple[int, ...]) -> str:
  """The SHA-256, in hex, of the networks that a device runs.

  It is the same at every operating point of a run and in every quantisation of its exports.

  Args:
    variables: by block; the cloud's do not count.
    image_shape: height, width, channels.
  """
  blocks = {block: variables[block] for block in BLOCKS if block in variables and block != "cloud"}
  return digest(str(tuple(image_shape)), blocks)
