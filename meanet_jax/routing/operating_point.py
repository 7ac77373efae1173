"""An operating point: all that decides about an image beside the networks, as one value.

Here alone a threshold that a policy does not compare with goes from NaN to null in JSON and back.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from meanet_jax.config.values import checked_dataclass, checked_object
from meanet_jax.errors import UserError
from meanet_jax.routing.fusion import FusionWeights
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.learned import FEATURES, GAINS, GainWeights
from meanet_jax.routing.policies import Policy, Thresholds, compared_thresholds

_JSON_FIELDS = (
  "policy",
  "thresholds",
  "temperatures",
  "hard_classes",
  "num_classes",
  "extension_classes",
  "fusion",
  "gain",
)


# One value, so that operating points of equal numbers are equal.
_UNUSED = np.float32(np.nan)


class Temperatures(NamedTuple):
  """What each exit's logits are divided by before any rule looks at them."""

  main: float = 1.0
  extension: float = 1.0
  cloud: float = 1.0


@dataclasses.dataclass(frozen=True)
class OperatingPoint:
  """A policy with the numbers that it decides by.

  policy: the rules. thresholds: float32 scalars, as the scores that they are compared with; one
  without a use becomes NaN. temperatures: of each exit. hard_classes: the extension's; with
  `hard_rule` `never` there may be none. fusion: None where the policy fuses nothing. gain: of the
  criterion `learned`; None of another.

  Raises:
    UserError: a threshold that the policy compares with is NaN, the policy runs an extension and
      there are no hard classes, it fuses and the weights are missing or outside 0 .. 1, or it
      learns and the weights are missing or of other classes.
  """

  policy: Policy
  thresholds: Thresholds
  temperatures: Temperatures
  hard_classes: HardClasses
  fusion: FusionWeights | None = None
  gain: GainWeights | None = None

  def __post_init__(self):
    compared = compared_thresholds(self.policy)
    given = {name: np.float32(value) for name, value in self.thresholds._asdict().items()}
    used = {name: value if name in compared else _UNUSED for name, value in given.items()}
    object.__setattr__(self, "thresholds", Thresholds(**used))
    for name in compared:
      if np.isnan(getattr(self.thresholds, name)):
        raise UserError(
          f"thresholds.{name} is missing; expected a number, which {self.policy} compares with"
        )
    if self.policy.hard_rule != "never" and not len(self.hard_classes):
      raise UserError(
        f"hard_classes is [] with {self.hard_classes.num_classes} classes; expected at least 1 "
        f"class number, for {self.policy} runs an extension"
      )
    if self.policy.fuses and self.fusion is None:
      raise UserError(f"fusion is missing; expected weights, which {self.policy} fuses by")
    for name, weight in (self.fusion or FusionWeights())._asdict().items():
      if not 0 <= weight <= 1:
        raise UserError(f"fusion.{name} is {weight}; expected a weight from 0 to 1")
    if self.policy.learns and self.gain is None:
      raise UserError(f"gain is missing; expected weights, which {self.policy} compares by")
    _check_gain(self.gain, self.hard_classes.num_classes)

  def to_json(self) -> dict[str, Any]:
    """What summary.json and edge.json hold; a threshold without a use is null."""
    return {
      "policy": dataclasses.asdict(self.policy),
      "thresholds": {
        name: None if np.isnan(value) else float(value)
        for name, value in self.thresholds._asdict().items()
      },
      "temperatures": dict(self.temperatures._asdict()),
      "hard_classes": self.hard_classes.numbers.tolist(),
      "num_classes": self.hard_classes.num_classes,
      "extension_classes": self.hard_classes.extension,
      "fusion": None if self.fusion is None else dict(self.fusion._asdict()),
      "gain": None if self.gain is None else _lists(self.gain),
    }

  @classmethod
  def from_json(cls, source: Any) -> "OperatingPoint":
    """Reads what `to_json` wrote.

    Raises:
      UserError: a field that is missing, unknown or wrong, named.
    """
    if isinstance(source, Mapping):
      # Which earlier versions did not know.
      source = {"extension_classes": "hard", "gain": None, **source}
    fields = _fields(source, "operating_point", _JSON_FIELDS)
    return cls(
      policy=checked_dataclass(fields["policy"], Policy, "policy"),
      thresholds=_thresholds(fields["thresholds"]),
      temperatures=_temperatures(fields["temperatures"]),
      hard_classes=_hard_classes(fields),
      fusion=_fusion(fields["fusion"]),
      gain=_gain(fields["gain"]),
    )


def _fields(source: Any, name: str, expected: Iterable[str]) -> Mapping[str, Any]:
  """A JSON object with exactly the expected fields."""
  expected = list(expected)
  return checked_object(source, name, expected, required=expected)


def _thresholds(source: Any) -> Thresholds:
  fields = _fields(source, "thresholds", Thresholds._fields)
  for name, value in fields.items():
    if value is not None and not _is_number(value):
      raise UserError(f"thresholds.{name} is {value!r}; expected a number or null")
  return Thresholds(**{n: np.float32(np.nan if v is None else v) for n, v in fields.items()})


def _temperatures(source: Any) -> Temperatures:
  fields = _fields(source, "temperatures", Temperatures._fields)
  for name, value in fields.items():
    if not _is_number(value) or not 0 < value < math.inf:
      raise UserError(f"temperatures.{name} is {value!r}; expected a number above 0")
  return Temperatures(**{name: float(value) for name, value in fields.items()})


def _hard_classes(fields: Mapping[str, Any]) -> HardClasses:
  numbers, num_classes = fields["hard_classes"], fields["num_classes"]
  if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 1:
    raise UserError(f"num_classes is {num_classes!r}; expected a whole number above 0")
  if not isinstance(numbers, list) or not all(type(number) is int for number in numbers):
    raise UserError(f"hard_classes is {numbers!r}; expected a list of class numbers")
  extension = fields["extension_classes"]
  if extension not in ("hard", "all"):
    raise UserError(f"extension_classes is {extension!r}; expected 'hard' or 'all'")
  return HardClasses(np.asarray(numbers, np.int64), num_classes, extension)


def _fusion(source: Any) -> FusionWeights | None:
  if source is None:
    return None
  fields = _fields(source, "fusion", FusionWeights._fields)
  for name, value in fields.items():
    if not _is_number(value):
      raise UserError(f"fusion.{name} is {value!r}; expected a weight from 0 to 1")
  return FusionWeights(**{name: float(value) for name, value in fields.items()})


def _gain(source: Any) -> GainWeights | None:
  if source is None:
    return None
  fields = _fields(source, "gain", GainWeights._fields)
  try:
    return GainWeights(
      *(tuple(tuple(map(float, row)) for row in fields[name]) for name in GainWeights._fields[:2]),
      tuple(map(float, fields["bias"])),
    )
  except (TypeError, ValueError) as error:
    raise UserError(f"gain holds no rows of numbers: {error}; expected numbers") from error


def _lists(gain: GainWeights) -> dict[str, Any]:
  return {name: np.asarray(values).tolist() for name, values in gain._asdict().items()}


def _check_gain(gain: GainWeights | None, num_classes: int) -> None:
  if gain is None:
    return
  kinds = len(GAINS)
  shapes = {"features": (len(FEATURES),) * kinds, "classes": (num_classes,) * kinds}
  found = {name: tuple(map(len, getattr(gain, name))) for name in shapes}
  numbers = [*gain.bias, *(value for rows in gain[:2] for row in rows for value in row)]
  if found != shapes or len(gain.bias) != kinds or not np.isfinite(numbers).all():
    raise UserError(
      f"gain has rows of {found} numbers and {len(gain.bias)} biases; expected rows of {shapes} "
      f"finite numbers and {kinds} biases"
    )


def _is_number(value: Any) -> bool:
  return isinstance(value, int | float) and not isinstance(value, bool)
