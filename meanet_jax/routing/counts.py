"""What came of a routed split, in images."""

from typing import Any, NamedTuple

from meanet_jax.annotations import Bool, Int
from meanet_jax.routing.rules import CLOUD, EXTENSION, Records, Route

Array = Any  # a NumPy or JAX array


class Counts(NamedTuple):
  """Images per outcome, one entry per operating point.

  correct: answered correctly; hard_correct: the same among images whose true class is hard.
  main, extension, cloud: ended there. ran_extension: adaptive and extension block ran;
  extension_and_cloud: and the image was sent all the same.
  """

  correct: Int[Array, "*t"]
  hard_correct: Int[Array, "*t"]
  main: Int[Array, "*t"]
  extension: Int[Array, "*t"]
  cloud: Int[Array, "*t"]
  ran_extension: Int[Array, "*t"]
  extension_and_cloud: Int[Array, "*t"]


def count(taken: Route, records: Records, is_hard: Bool[Array, " c"]) -> Counts:
  """The outcomes of one route of all images, as int32 scalars."""
  xp = taken.exit.__array_namespace__()
  correct = taken.prediction == records.label
  truly_hard = xp.take(is_hard, records.label, axis=0)

  def total(mask: Bool[Array, " n"]) -> Int[Array, ""]:
    return xp.sum(mask, dtype=xp.int32)

  extension, cloud = total(taken.exit == EXTENSION), total(taken.exit == CLOUD)
  return Counts(
    correct=total(correct),
    hard_correct=total(correct & truly_hard),
    # The rest: every sum over the images takes a tenth of a sweep's time.
    main=xp.int32(len(records.label)) - extension - cloud,
    extension=extension,
    cloud=cloud,
    ran_extension=total(taken.ran_extension),
    extension_and_cloud=total(taken.ran_extension & (taken.exit == CLOUD)),
  )
