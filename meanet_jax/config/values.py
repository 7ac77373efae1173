"""One value of a configuration or a JSON file: what its declared type accepts, how text is read.

A declared type is int, float, bool, str, Literal[...], tuple[T, ...], T | None, or one of these
Annotated with a `Range`; or Literal[...] | tuple[T, ...], for words or numbers.
"""

import ast
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, get_args, get_origin

from meanet_jax.config.ranges import LARGEST
from meanet_jax.errors import UserError, hint, nearest

Fields = TypeVar("Fields")
_WORDS = {int: "an integer", float: "a number", bool: "true or false", str: "a text"}
_BOOLEANS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def accepted(kind: Any) -> str:
  """What a declared type accepts, in words: `an integer, at least 1`."""
  origin, args = get_origin(kind), get_args(kind)
  if origin is typing.Annotated:
    return f"{accepted(args[0])}, {args[1]}"
  if words_or_numbers(kind):
    return "; or ".join(map(accepted, args))
  if origin in (types.UnionType, typing.Union):
    return f"{accepted(args[0])}; or none"
  if origin is typing.Literal:
    return ", ".join(map(str, args))
  if origin is tuple:
    return "a tuple of " + {int: "integers", float: "numbers", str: "texts"}[args[0]]
  return _WORDS[kind]


def checked(value: Any, kind: Any, path: str, what: str = "configuration field") -> Any:
  """`value` as the declared type `kind`; lists are taken for tuples, and integers for floats.

  Args:
    value: any.
    kind: a declared type.
    path, what: the name of the value and what has it, for messages.

  Raises:
    UserError: a value of another type, or out of range.
  """
  origin, args = get_origin(kind), get_args(kind)
  if origin is typing.Annotated:
    found = checked(value, args[0], path, what)
    if not args[1].holds(found):
      raise UserError(f"{what} {path!r} is {found!r}; accepted: {args[1]}")
    return found
  if words_or_numbers(kind):
    if isinstance(value, str) == (value in get_args(args[0])):
      return checked(value, args[not isinstance(value, str)], path, what)
    raise UserError(f"{what} {path!r} is {value!r}; accepted: {accepted(kind)}")
  if origin in (types.UnionType, typing.Union):
    return None if value is None else checked(value, args[0], path, what)
  if origin is typing.Literal:
    if value not in args:
      raise UserError(f"{what} {path!r} is {value!r}; {nearest(str(value), args)}")
    return value
  if origin is tuple:
    if not isinstance(value, tuple | list):
      raise UserError(f"{what} {path!r} is {value!r}; accepted: {accepted(kind)}")
    return tuple(checked(item, args[0], path, what) for item in value)
  types_of = {float: (int, float), int: (int,), str: (str,), bool: (bool,)}[kind]
  if not isinstance(value, types_of) or (isinstance(value, bool) and kind is not bool):
    raise UserError(f"{what} {path!r} is {value!r}; accepted: {accepted(kind)}")
  if kind is float and not abs(value) <= LARGEST:  # NaN is not either
    raise UserError(f"{what} {path!r} is {value!r}; accepted: a finite number")
  return kind(value)


def checked_object(
  value: Any, name: str, known: Iterable[str], required: Iterable[str] = ()
) -> Mapping[str, Any]:
  """A JSON object that has known fields alone.

  Args:
    value: any.
    name: of the value, for messages; empty for that of a file.
    known: its fields.
    required: those that it must have.

  Raises:
    UserError: no object, or a field that is unknown or missing.
  """
  fields = ", ".join(known := list(known))
  if not isinstance(value, Mapping):
    raise UserError(f"{name or 'the file'} is {value!r}; expected an object with {fields}")
  prefix = f"{name}." if name else ""
  for field in value:
    if field not in known:
      found = f"field {prefix + field!r} is unknown"
      raise UserError(f"{found}; {hint(field, known)}expected {fields}")
  for field in (required := list(required)):
    if field not in value:
      raise UserError(f"field {prefix + field!r} is missing; expected {', '.join(required)}")
  return value


def checked_dataclass(value: Any, cls: type[Fields], name: str) -> Fields:
  """A dataclass from a JSON object with all of its fields, each of its declared type.

  Args:
    value: any.
    cls: of declared types alone.
    name: of the value, for messages.

  Raises:
    UserError: no object, or a field that is unknown, missing or wrong.
  """
  kinds = typing.get_type_hints(cls, include_extras=True)
  fields = checked_object(value, name, kinds, required=kinds)
  return cls(
    **{key: checked(fields[key], kind, f"{name}.{key}", "field") for key, kind in kinds.items()}
  )


def words_or_numbers(kind: Any) -> bool:
  """Whether a declared type is Literal[...] | tuple[T, ...]."""
  args = get_args(kind)
  is_union = get_origin(kind) in (types.UnionType, typing.Union)
  return is_union and get_origin(args[0]) is typing.Literal and types.NoneType not in args


def parse(texts: Sequence[str | None], kind: Any, path: str) -> Any:
  """The value of `--config.PATH`, given once or several times, each with a text or without one.

  The last one counts; of a tuple all are joined. A tuple is `(1, 2)`, `1,2` or one item; strings in
  it are quoted where there are several. Without a text a boolean is true.

  Raises:
    UserError: a text that is none of the type's.
  """
  if words_or_numbers(kind):
    words, numbers = get_args(kind)
    if texts[-1] in get_args(words):
      return texts[-1]
    try:
      return parse(texts, numbers, path)
    except UserError as error:
      raise _unreadable(texts, kind, path) from error
  plain = _plain(kind)
  try:
    if get_origin(plain) is tuple:
      value = tuple(item for text in texts for item in _items(text))
      return tuple(float(v) if _plain(get_args(plain)[0]) is float else v for v in value)
    return _scalar(texts[-1], kind)
  except (ValueError, SyntaxError, TypeError) as error:
    raise _unreadable(texts, kind, path) from error


def _unreadable(texts: Sequence[str | None], kind: Any, path: str) -> UserError:
  found = "has no value" if texts[-1] is None else f"is {texts[-1]!r}"
  return UserError(f"flag --config.{path} {found}; accepted: {accepted(kind)}")


def _plain(kind: Any) -> Any:
  """A declared type without its range and without None."""
  while get_origin(kind) in (typing.Annotated, types.UnionType, typing.Union):
    kind = get_args(kind)[0]
  return kind


def _scalar(text: str | None, kind: Any) -> Any:
  plain = _plain(kind)
  if text is None:
    if plain is not bool:
      raise ValueError
    return True
  if plain is bool:
    if text.lower() not in _BOOLEANS:
      raise ValueError
    return _BOOLEANS[text.lower()]
  if text.lower() == "none" and plain is not kind and _optional(kind):
    return None
  if plain is int:
    return int(text, 0)
  return float(text) if plain is float else text


def _optional(kind: Any) -> bool:
  if get_origin(kind) is typing.Annotated:
    return _optional(get_args(kind)[0])
  return get_origin(kind) in (types.UnionType, typing.Union)


def _items(text: str | None) -> tuple[Any, ...]:
  if text is None:
    raise ValueError
  try:
    value = ast.literal_eval(text)
  except ValueError:
    value = text
  except SyntaxError:
    if "," in text or " " in text:  # several strings, of which it is not known where each ends
      raise
    value = text
  return tuple(value) if isinstance(value, tuple | list) else (value,)
