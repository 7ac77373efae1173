"""The constraints under which an operating point is selected: the one list of them.

It is the configuration's group `evaluation.constraints`, what `selection.select` selects under, and
where eval.py's flags come from.
"""

import dataclasses
from typing import Annotated, Any, NamedTuple, get_args

from meanet_jax.config.ranges import Fraction, NonNegativeFloat, Range


def _constraint(meaning: str) -> Any:
  return dataclasses.field(default=None, metadata={"meaning": meaning})


@dataclasses.dataclass(frozen=True)
class Constraints:
  """What an operating point has to keep; None constrains nothing.

  A limit holds for means over images. `constraint_fields` has the meaning and the range of each.
  """

  max_offload: Fraction | None = _constraint("Largest share of images sent to the cloud.")
  max_energy_mj: NonNegativeFloat | None = _constraint(
    "Largest mean energy on the edge per image, in millijoules, as estimated."
  )
  max_latency_ms: NonNegativeFloat | None = _constraint(
    "Largest mean latency per image, in milliseconds, as estimated."
  )
  min_accuracy: Fraction | None = _constraint(
    "Smallest accuracy; of the points that keep it, the one with the fewest offloads is selected."
  )
  offload_penalty: NonNegativeFloat | None = _constraint(
    "Accuracy that one offloaded image has to be worth: accuracy - penalty x offloads is maximised."
  )
  confidence: Annotated[float, Range(0.5, 0.999999)] | None = _constraint(
    "Probability with which the limits hold on new images; unset: on validation alone."
  )

  def to_json(self) -> dict[str, float | None]:
    """All fields by name."""
    return dataclasses.asdict(self)


class ConstraintField(NamedTuple):
  """One field of `Constraints`: its name, its meaning in a sentence, and its accepted values."""

  name: str
  meaning: str
  range: Range


def constraint_fields() -> tuple[ConstraintField, ...]:
  """The fields of `Constraints` in order."""
  return tuple(
    # An `Annotated[float, Range] | None`.
    ConstraintField(field.name, field.metadata["meaning"], get_args(get_args(field.type)[0])[1])
    for field in dataclasses.fields(Constraints)
  )
