"""Deterministic weights and images for checking a network against reference logits.

A golden file `torchvision_<model>.npz` holds

  spec    JSON text: [[parameter name, shape], ...] in the reference's own state-dict order
  logits  shape [2, 1000], computed by the reference in float64, in evaluation mode,
          on `images(224)`

and no weights: `state_dict(spec)` makes them again, the same on every machine,
from each parameter's name alone. Load them through the importer for pretrained
weights, run the network on the images and compare with `logits`.
"""

import json
import zlib

import numpy as np


def parameter(name: str, shape: tuple[int, ...]) -> np.ndarray:
  """The value of one parameter or buffer, float32, in the reference's own layout."""
  rng = np.random.default_rng(zlib.crc32(name.encode()))
  if name.endswith("num_batches_tracked"):
    return np.zeros(shape, np.int64)
  if len(shape) == 4:  # convolution, [out, in / groups, kernel height, kernel width]
    return (rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
  if len(shape) == 2:  # dense, [out, in]
    return (rng.standard_normal(shape) / np.sqrt(shape[1])).astype(np.float32)
  if name.endswith(("running_var", "weight")):  # batch norm variance and scale
    return rng.uniform(0.4, 0.9, shape).astype(np.float32)
  return (0.1 * rng.standard_normal(shape)).astype(np.float32)  # biases and running means


def state_dict(spec: str) -> dict[str, np.ndarray]:
  """All parameters of a golden file's `spec`, by name."""
  return {name: parameter(name, tuple(shape)) for name, shape in json.loads(spec)}


def images(size: int) -> np.ndarray:
  """Two made-up images, shape [2, 3, size, size] (NCHW), float32, already normalised.

  Coarse random patches under fine noise, so that position, padding and stride all matter.
  """
  rng = np.random.default_rng(7)
  coarse = np.kron(rng.standard_normal((2, 3, 7, 7)), np.ones((size // 7 + 1, size // 7 + 1)))
  return (coarse[:, :, :size, :size] + 0.3 * rng.standard_normal((2, 3, size, size))).astype(
    np.float32
  )
