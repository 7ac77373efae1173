"""The constraints under which an operating point is selected: the one list of them.

They are the configuration's group `evaluation.constraints`, what `selection.select` selects under,
and where the flags of commands come from.
"""

import dataclasses
from typing import Annotated, Any

from meanet_jax.config.ranges import Fraction, NonNegativeFloat, Range
from meanet_jax.config.values import checked, checked_object
from meanet_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Constraints:
  """What an operating point has to keep, over images; None constrains nothing.

  Raises:
    UserError: a value of another type, or out of range.
  """

  max_offload: Fraction | None = None
  """Largest share of images sent to the cloud."""
  max_bytes: NonNegativeFloat | None = None
  """Largest mean number of bytes sent to the cloud per image."""
  max_energy_mj: NonNegativeFloat | None = None
  """Largest mean energy on the edge per image, in millijoules."""
  max_latency_ms: NonNegativeFloat | None = None
  """Largest mean latency per image, in milliseconds."""
  max_latency_p95_ms: NonNegativeFloat | None = None
  """Latency that at least 95% of the images have to keep, in milliseconds."""
  min_accuracy: Fraction | None = None
  """Smallest accuracy; the fewest offloads that keep it are selected."""
  min_balanced_accuracy: Fraction | None = None
  """Smallest balanced accuracy, the mean recall of the classes that have images."""
  min_class_recall: Fraction | None = None
  """Smallest recall of the class that is recognised worst, of the classes that have images."""
  offload_penalty: NonNegativeFloat | None = None
  """Accuracy that one offloaded image has to be worth."""
  confidence: Annotated[float, Range(0.5, 0.999999)] | None = None
  """Probability with which limits hold on new images."""
  spend_budget: bool = False
  """Of the points that keep every limit, select the one that sends most, not the cheapest of the
  accurate ones."""

  def __post_init__(self):
    # Here, for a program's constraints are written to a run's files, whose readers check them.
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      value = value.item() if hasattr(value, "item") else value  # of NumPy's numbers
      value = checked(value, field.type, field.name, "constraint")
      object.__setattr__(self, field.name, value)

  @property
  def needs_classes(self) -> bool:
    """Whether a limit is on figures of single classes."""
    return self.min_balanced_accuracy is not None or self.min_class_recall is not None

  def to_json(self) -> dict[str, float | bool | None]:
    """All fields by name."""
    return dataclasses.asdict(self)

  @classmethod
  def from_json(cls, source: Any, name: str = "constraints") -> "Constraints":
    """The constraints that a JSON value holds; a field that is not there constrains nothing.

    Args:
      source: what `to_json` gave, of this version or an earlier one.
      name: what it is, for messages.

    Raises:
      UserError: it holds something else.
    """
    kinds = {field.name: field.type for field in dataclasses.fields(cls)}
    source = checked_object(source, name, kinds)
    return cls(
      **{
        field: checked(value, kinds[field], f"{name}.{field}", "field")
        for field, value in source.items()
      }
    )

  def given(self) -> dict[str, float | bool]:
    """The fields that constrain something, by name."""
    return {
      name: value
      for name, value in self.to_json().items()
      if value is not None and value is not False
    }

  def __str__(self) -> str:
    """Those that are given, as `max_offload 0.1, spend_budget`."""
    return ", ".join(
      name if value is True else f"{name} {value:g}" for name, value in self.given().items()
    )


ROUNDING = 1e-12  # by which equal figures may differ, relative to them


# The figure of a system's entry in summary.json that a field limits, where there is one; `cloud` is
# among the shares in `fraction`.
FIGURES = {
  "max_offload": "cloud",
  "max_bytes": "bytes_up",
  "max_energy_mj": "energy_mj",
  "max_latency_ms": "latency_ms",
  "max_latency_p95_ms": "latency_p95_ms",
  "min_accuracy": "accuracy",
}


def check_constraints(constraints: Constraints) -> None:
  """Refuses constraints that contradict each other, whatever the operating points are.

  Raises:
    UserError: naming them.
  """
  if not constraints.spend_budget:
    return
  given = constraints.given()
  if not any(name.startswith("max_") for name in given):
    raise UserError(
      "spend_budget was asked without a budget to spend; accepted: with a largest offload, bytes, "
      "energy or latency (max_...), or without spend_budget"
    )
  for other, asks in (
    ("min_accuracy", "the fewest offloads"),
    ("offload_penalty", "the offloads that are worth it"),
  ):
    if other in given:
      raise UserError(
        f"spend_budget asks for the most offloads and {other} {given[other]:g} for {asks}; "
        "accepted: one of the two"
      )
