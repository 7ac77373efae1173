"""Multiply-accumulates of a function, counted on its jaxpr."""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.extend import core


def count_macs(function: Callable[..., Any], *args: Any) -> int:
  """Multiply-accumulates of one call: convolutions and matrix products only.

  Args:
    function: traced, not run.
    *args: arrays or `jax.ShapeDtypeStruct`s; a batch of n images counts n times.
  """
  return _jaxpr_macs(jax.make_jaxpr(function)(*args).jaxpr)


def _jaxpr_macs(jaxpr: core.Jaxpr) -> int:
  total = 0
  for equation in jaxpr.eqns:
    name = equation.primitive.name
    if name == "conv_general_dilated":
      total += _convolution_macs(equation)
    elif name == "dot_general":
      total += _dot_macs(equation)
    else:
      repeats = equation.params["length"] if name == "scan" else 1
      total += repeats * sum(_jaxpr_macs(inner) for inner in _inner_jaxprs(equation))
  return total


def _convolution_macs(equation: core.JaxprEqn) -> int:
  kernel = equation.invars[1].aval.shape
  layout = equation.params["dimension_numbers"].rhs_spec  # (out, in / groups, *spatial)
  per_output = kernel[layout[1]] * math.prod(kernel[axis] for axis in layout[2:])
  return math.prod(equation.outvars[0].aval.shape) * per_output


def _dot_macs(equation: core.JaxprEqn) -> int:
  (contracted, _), _ = equation.params["dimension_numbers"]
  left = equation.invars[0].aval.shape
  per_output = math.prod(left[axis] for axis in contracted)
  return math.prod(equation.outvars[0].aval.shape) * per_output


def _inner_jaxprs(equation: core.JaxprEqn) -> list[core.Jaxpr]:
  found = []
  for value in equation.params.values():
    for item in value if isinstance(value, tuple | list) else (value,):
      # Closed or open, whose classes differ between the supported versions of JAX.
      inner = getattr(item, "jaxpr", item)
      if hasattr(inner, "eqns"):
        found.append(inner)
  return found
