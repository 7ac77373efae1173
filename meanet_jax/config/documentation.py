"""What every field of the configuration means, read from the strings below the fields."""

import ast
import dataclasses
import functools
import inspect
import itertools
import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple

from meanet_jax.config.values import accepted


class Field(NamedTuple):
  """One field. path: its dotted name. accepted: values, in words."""

  path: str
  value: Any
  accepted: str
  meaning: str


def documented(config: Any, path: str = "") -> Iterator[Field]:
  """The fields of a configuration (a dataclass of dataclasses) in order, groups opened."""
  meanings = _meanings(type(config))
  for field in dataclasses.fields(config):
    name, value = f"{path}{field.name}", getattr(config, field.name)
    if dataclasses.is_dataclass(value):
      yield from documented(value, f"{name}.")
    else:
      yield Field(name, value, accepted(field.type), meanings.get(field.name, ""))


@functools.cache
def _meanings(cls: type) -> dict[str, str]:
  """The string below each field, as one line, of a class and of those that it inherits from."""
  found: dict[str, str] = {}
  for base in cls.__mro__:
    if not dataclasses.is_dataclass(base):
      continue
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
    body = node.body if isinstance(node, ast.ClassDef) else []
    for field, below in itertools.pairwise(body):
      if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
        continue
      if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
        found.setdefault(field.target.id, " ".join(str(below.value.value).split()))
  return found
