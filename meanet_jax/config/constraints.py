"""The constraints under which an operating point is selected: the one list of them.

They are the configuration's group `evaluation.constraints`, what `selection.select` selects under,
and where the flags of commands come from.
"""

import dataclasses
from typing import Annotated, NamedTuple, get_args

from meanet_jax.config.ranges import Fraction, NonNegativeFloat, Range


@dataclasses.dataclass(frozen=True)
class Constraints:
  """What an operating point has to keep; None constrains nothing.

  Limits hold for means over images. Each field's annotation has its range and its meaning.
  """

  max_offload: Annotated[Fraction, "Largest share of images sent to the cloud."] | None = None
  max_energy_mj: (
    Annotated[NonNegativeFloat, "Largest mean energy on the edge per image, in millijoules."] | None
  ) = None
  max_latency_ms: (
    Annotated[NonNegativeFloat, "Largest mean latency per image, in milliseconds."] | None
  ) = None
  min_accuracy: (
    Annotated[Fraction, "Smallest accuracy; the fewest offloads that keep it are selected."] | None
  ) = None
  offload_penalty: (
    Annotated[NonNegativeFloat, "Accuracy that one offloaded image has to be worth."] | None
  ) = None
  confidence: (
    Annotated[float, Range(0.5, 0.999999), "Probability with which limits hold on new images."]
    | None
  ) = None

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
  found = []
  for field in dataclasses.fields(Constraints):
    number, _ = get_args(field.type)  # and None
    _, bounds, meaning = get_args(number)
    found.append(ConstraintField(field.name, meaning, bounds))
  return tuple(found)
