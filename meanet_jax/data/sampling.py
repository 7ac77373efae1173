"""In which order an epoch shows a stage's images: each once, or all classes alike.

This module loads no JAX, so that worker processes start fast and leave devices alone.
"""

import dataclasses

import numpy as np
from jaxtyping import Int


@dataclasses.dataclass(frozen=True, eq=False)
class Labels:
  """Labels int32 [n] as one value, equal to itself alone, so that what has it can be compared."""

  values: Int[np.ndarray, " n"]


def uniform_order(rng: np.random.Generator, size: int) -> Int[np.ndarray, " n"]:
  """A permutation of so many images, int32."""
  return rng.permutation(size).astype(np.int32)


def balanced_order(rng: np.random.Generator, labels: Labels) -> Int[np.ndarray, " n"]:
  """As many image numbers as there are labels, int32, every class as often as the others.

  Each run of as many images as there are classes has one of every class, in an order of its own.
  The images of a class follow one another in permutations: those of a small class are shown several
  times, those of a large one in part, and none is shown again before all of its class were.
  """
  size = len(labels.values)
  by_class = np.argsort(labels.values, kind="stable").astype(np.int32)
  counts = np.unique(labels.values, return_counts=True)[1]
  rounds = -(-size // len(counts))
  classes = np.tile(np.arange(len(counts)), (rounds, 1))
  drawn = rng.permuted(classes, axis=1).reshape(-1)[:size]
  order = np.empty(size, np.int32)
  for place, (end, count) in enumerate(zip(np.cumsum(counts), counts, strict=True)):
    places = np.flatnonzero(drawn == place)
    passes = np.tile(by_class[end - count : end], (-(-len(places) // count), 1))
    order[places] = rng.permuted(passes, axis=1).reshape(-1)[: len(places)]
  return order
