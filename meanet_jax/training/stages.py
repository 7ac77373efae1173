"""A stage as data: which variables learn, from which images, by which logits."""

import dataclasses
from typing import Literal

from meanet_jax.models.meanet import Exits


@dataclasses.dataclass(frozen=True)
class Stage:
  """One training stage with a gradient.

  name: as in the configuration and on disk.
  trainable: the blocks that learn and whose batch norm is in training mode.
  exit: the one exit whose logits enter the loss; nothing else is computed.
  images: `all`, or those of `hard` classes with labels remapped to 0 .. K - 1.
  """

  name: str
  trainable: tuple[str, ...]
  exit: Exits
  images: Literal["all", "hard"] = "all"


MAIN = Stage("main", ("main",), Exits.MAIN)
EDGE = Stage("edge", ("adaptive", "extension"), Exits.EXTENSION, images="hard")
CLOUD = Stage("cloud", ("cloud",), Exits.CLOUD)
