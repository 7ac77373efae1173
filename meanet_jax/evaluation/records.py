"""Records: what every exit says about every image of a split, collected once, swept afterwards."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from meanet_jax.data.splits import Split
from meanet_jax.models.meanet import Outputs
from meanet_jax.routing.hard_classes import is_hard
from meanet_jax.routing.policies import Records
from meanet_jax.routing.scores import hard_probability, scores

EXITS = ("main", "extension", "cloud")


class Temperatures(NamedTuple):
  """What each exit's logits are divided by before any rule looks at them."""

  main: float = 1.0
  extension: float = 1.0
  cloud: float = 1.0


def make_records(
  outputs: Outputs,
  split: Split,
  hard_classes: Int[np.ndarray, " k"],
  temperatures: Temperatures = Temperatures(),  # noqa: B008 - immutable
) -> Records:
  """The records of a split from the logits of all three exits.

  Args:
    outputs: finite NumPy logits [n, ...] of every exit.
    split: the images' labels.
    hard_classes: the original numbers of the extension's classes.
    temperatures: positive.
  """
  assert outputs.main is not None
  assert outputs.extension is not None
  assert outputs.cloud is not None
  main, extension, cloud = (
    (np.asarray(logits) / np.float32(temperature)).astype(np.float32)
    for logits, temperature in zip(outputs, temperatures, strict=True)
  )
  return Records(
    label=split.labels.astype(np.int32),
    hard_probability=hard_probability(main, is_hard(hard_classes, main.shape[-1])),
    main=scores(main),
    extension=scores(extension, hard_classes),
    cloud=scores(cloud),
  )
