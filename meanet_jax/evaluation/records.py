"""Records: what every exit says about every image of a split, collected once, swept afterwards."""

import numpy as np
from jaxtyping import Int

from meanet_jax.data.splits import Split
from meanet_jax.models.meanet import Outputs
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.operating_point import Temperatures
from meanet_jax.routing.policies import Records
from meanet_jax.routing.scores import hard_probability, scores

EXITS = ("main", "extension", "cloud")


def make_records(
  outputs: Outputs,
  split: Split,
  hard_classes: HardClasses | Int[np.ndarray, " k"],
  temperatures: Temperatures = Temperatures(),  # noqa: B008 - immutable
) -> Records:
  """The records of a split from the logits of all three exits.

  Args:
    outputs: finite NumPy logits [n, ...] of every exit.
    split: the images' labels.
    hard_classes: the extension's classes, or their original numbers.
    temperatures: positive.
  """
  assert outputs.main is not None
  assert outputs.extension is not None
  assert outputs.cloud is not None
  main, extension, cloud = (
    (np.asarray(logits) / np.float32(temperature)).astype(np.float32)
    for logits, temperature in zip(outputs, temperatures, strict=True)
  )
  if not isinstance(hard_classes, HardClasses):
    hard_classes = HardClasses(hard_classes, main.shape[-1])
  return Records(
    label=split.labels.astype(np.int32),
    hard_probability=hard_probability(main, hard_classes.mask),
    main=scores(main),
    extension=scores(extension, hard_classes.numbers),
    cloud=scores(cloud),
  )
