"""Types and shapes of every call are checked while tests run, at a fraction of the usual cost.

jaxtyping's import hook gives every function a wrapper that checks each argument twice and binds
them all with `inspect`: a fifth of the processor time of all tests. Here beartype alone checks what
takes and returns no array, and what does is checked once.
"""

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any

import jaxtyping
from beartype import beartype

_jaxtyped = jaxtyping.jaxtyped


def install(package: str) -> None:
  """Checks the modules of a package that are imported from now on."""
  jaxtyping.jaxtyped = decorate
  jaxtyping.install_import_hook(package, "beartype.beartype")


def decorate(function: Any = None, **_: Any) -> Any:
  """In place of jaxtyping's, in the forms in which its import hook uses it."""
  if function is None:
    return decorate
  if not isinstance(function, type):
    return _checked(function)
  if dataclasses.is_dataclass(function) and "__init__" in vars(function):
    function.__init__ = _checked(function.__init__)
  return function


def _checked(function: Callable[..., Any]) -> Callable[..., Any]:
  # beartype reads no signature of Flax's `__init__`, whose code takes anything, and checks
  # what a generator is given once it runs, in the scope of whoever asks it for a value.
  if hasattr(function, "__wrapped__") or inspect.isgeneratorfunction(function):
    return _jaxtyped(function, typechecker=beartype)
  checked = beartype(function)
  if not any(map(_has_array, function.__annotations__.values())):
    return checked

  @functools.wraps(function)
  def in_own_scope(*args: Any, **kwargs: Any) -> Any:
    with _jaxtyped("context"):  # where a dimension's name stands for one size
      return checked(*args, **kwargs)

  return in_own_scope


def _has_array(annotation: Any) -> bool:
  if isinstance(annotation, str):  # of a name that is defined later
    return "[" in annotation
  if isinstance(annotation, type) and issubclass(annotation, jaxtyping.AbstractArray):
    return True
  return any(map(_has_array, typing.get_args(annotation)))
