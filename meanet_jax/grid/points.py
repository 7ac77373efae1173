"""From the axes of a grid to its points.

An axis is one of

    stages.main.learning_rate=0.05,0.1,0.2                        one field
    stages.main.epochs=10,20 & stages.main.warmup_epochs=1,2      fields that move together
    {seed=0, model.join=sum}, {seed=1}                            a list of points

and a grid is the product of its axes. Values are Python's literals; whatever is none is a string.
A point of a list that leaves a field out has the configuration's own value of it.
"""

import ast
import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

from meanet_jax.config.parsing import field_type, resolve, to_json
from meanet_jax.config.schema import Config
from meanet_jax.errors import UserError

# What all points of a grid share: one read of the data serves them all.
SHARED = ("dataset", "workdir", "grid")
_OPEN, _CLOSED = "([{", ")]}"
Settings = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Point:
  """One training of a grid.

  number: from 0, in the order of the product, its last axis fastest.
  settings: values by the dotted names of the grid's fields, every field of every axis.
  config: the experiment with these values.
  """

  number: int
  settings: Settings
  config: Config

  @property
  def name(self) -> str:
    """The number as the name of a directory."""
    return f"{self.number:03d}"


def split_axes(text: str) -> tuple[str, ...]:
  """The axes of a command line, which `;` separates."""
  return tuple(_split(text, ";"))


def expand(axes: Sequence[str], config: Config, max_points: int) -> list[Point]:
  """The points of a grid, each checked.

  Args:
    axes: as described above.
    config: what the points differ from.
    max_points: how many there may be.

  Raises:
    UserError: an axis that cannot be read or is empty, a field that does not exist, is a group,
      stands on two axes or must be the same for all, a value that its field does not take, a point
      that is there twice, or too many points.
  """
  parsed = [_parse(axis) for axis in axes]
  fields: list[str] = []
  for choices in parsed:
    names = list(dict.fromkeys(name for settings in choices for name in settings))
    for name in names:
      _check_field(name, config)
      if name in fields:
        raise UserError(f"grid field {name!r} stands on two axes; accepted: one axis for a field")
    fields += names
  count = math.prod(map(len, parsed))
  if count > max_points:
    raise UserError(
      f"the grid has {count} points; accepted: at most {max_points} (grid.max_points)"
    )
  points: list[Point] = []
  seen: dict[Config, int] = {}
  for number, chosen in enumerate(itertools.product(*parsed)):
    settings = {name: value for part in chosen for name, value in part.items()}
    changed = resolve(_with(to_json(config), settings))
    if changed in seen:
      raise UserError(
        f"grid points {seen[changed]} and {number} are the same ({_text(settings)}); "
        "accepted: points that differ"
      )
    seen[changed] = number
    if changed.baselines.static:
      raise UserError(
        f"baselines.static is {changed.baselines.static:g} in a grid, whose trials train no "
        "network beside their MEANet; accepted: 0 in a grid, or the trial as a run of its own"
      )
    points.append(Point(number, {name: _value(changed, name) for name in fields}, changed))
  return points


def _parse(axis: str) -> list[Settings]:
  """The choices of an axis."""
  if axis.strip().startswith("{"):
    return [_listed(point.strip(), axis) for point in _split(axis, ",")]
  columns = [_column(part, axis) for part in _split(axis, "&")]
  if not columns:
    raise UserError(f"grid axis {axis!r} is empty; accepted: FIELD=VALUE,VALUE")
  names = [name for name, _ in columns]
  if len(set(names)) < len(names):
    raise UserError(f"grid axis {axis.strip()!r} has a field twice; accepted: a field once")
  lengths = {name: len(values) for name, values in columns}
  if len(set(lengths.values())) > 1:
    found = ", ".join(f"{count} of {name}" for name, count in lengths.items())
    raise UserError(f"grid axis {axis.strip()!r} has {found} values; accepted: as many of each")
  return [
    dict(zip(names, row, strict=True))
    for row in zip(*(values for _, values in columns), strict=True)
  ]


def _column(text: str, axis: str) -> tuple[str, list[Any]]:
  name, values = _assignment(text, axis)
  found = [_literal(value) for value in _split(values, ",")]
  if not found:
    raise UserError(f"grid axis {axis.strip()!r} is empty; accepted: at least one value")
  return name, found


def _listed(text: str, axis: str) -> Settings:
  if not (text.startswith("{") and text.endswith("}")):
    raise UserError(f"grid axis {axis.strip()!r} has {text!r}; accepted: {{FIELD=VALUE, ...}}, ...")
  pairs = [_assignment(part, axis) for part in _split(text[1:-1], ",")]
  if not pairs:
    raise UserError(f"grid axis {axis.strip()!r} has an empty point; accepted: at least one field")
  return {name: _literal(value) for name, value in pairs}


def _assignment(text: str, axis: str) -> tuple[str, str]:
  name, equals, value = text.partition("=")
  if not equals or not name.strip():
    raise UserError(f"grid axis {axis.strip()!r} has {text.strip()!r}; accepted: FIELD=VALUE,VALUE")
  return name.strip(), value.strip()


def _literal(text: str) -> Any:
  text = text.strip()
  if text in ("true", "false"):
    return text == "true"
  try:
    return ast.literal_eval(text)
  except (ValueError, SyntaxError):
    return text


def _split(text: str, separator: str) -> list[str]:
  """The parts between separators that stand in no bracket and no quotes; empty ones left out."""
  parts, depth, quote = [""], 0, ""
  for character in text:
    if quote:
      quote = "" if character == quote else quote
    elif character in "'\"":
      quote = character
    depth += (character in _OPEN and not quote) - (character in _CLOSED and not quote)
    if character == separator and not depth and not quote:
      parts.append("")
    else:
      parts[-1] += character
  return [part.strip() for part in parts if part.strip()]


def _check_field(name: str, config: Config) -> None:
  if name.partition(".")[0] in SHARED:
    raise UserError(
      f"grid field {name!r} must be the same for all points; accepted: any field but "
      "those of dataset and grid, and the workdir"
    )
  field_type(name)
  if dataclasses.is_dataclass(_value(config, name)):
    raise UserError(f"grid field {name!r} is a group of fields; accepted: one of them")


def _with(fields: dict[str, Any], settings: Settings) -> dict[str, Any]:
  for name, value in settings.items():
    *groups, last = name.split(".")
    group = fields
    for part in groups:
      group = group[part]
    group[last] = value
  return fields


def _value(config: Config, name: str) -> Any:
  value: Any = config
  for part in name.split("."):
    value = getattr(value, part)
  return value


def _text(settings: Settings) -> str:
  return ", ".join(f"{name}={value}" for name, value in settings.items())
