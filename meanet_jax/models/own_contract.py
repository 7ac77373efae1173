"""What a user's module has to keep, found by its shapes alone (docs/own_networks.md)."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.errors import InvalidRngError
from jaxtyping import Array

from meanet_jax.errors import UserError

_STATE = ("params", "batch_stats")


@dataclasses.dataclass(frozen=True)
class Place:
  """Where a module is used: the configuration's field, for messages, and what it has to do there.

  block: `main` or `cloud`.
  """

  block: str
  module: str
  image_shape: tuple[int, ...]
  num_classes: int

  @property
  def label(self) -> str:
    """The field and its value, for messages."""
    return f"model.{self.block}.module {self.module!r}"

  def refusal(self, found: str, accepted: str) -> UserError:
    """The error of a module that cannot be used there."""
    return UserError(f"{self.label} {found}; accepted: {accepted}")


def check_contract(network: nn.Module, plain: bool, place: Place) -> None:
  """Refuses a module by what it does to abstract images; nothing is compiled.

  Args:
    network: the module.
    plain: whether `__call__` is its only method.
    place: where it is used.

  Raises:
    UserError: it fails, returns something else, keeps other state, or is random in evaluation mode.
  """
  images = jax.ShapeDtypeStruct((2, *place.image_shape), jnp.float32)
  key = jax.eval_shape(lambda: jax.random.key(0))
  shape = f"images {images.shape}"

  def forward(module: Any, x: Array, train: bool) -> tuple[Any, Any]:
    if plain:
      return None, module(x, train)
    features = module.features(x, train)
    return features, module.classify(features, train)

  def traced(what: str, function: Any, *arguments: Any) -> Any:
    try:
      return jax.eval_shape(function, *arguments)
    except InvalidRngError as error:
      raise place.refusal(
        f"draws random numbers {what} ({in_one_line(error)})",
        "the same output for the same images in evaluation mode (train=False), and in training "
        "random numbers of 'dropout' alone",
      ) from error
    except Exception as error:
      raise place.refusal(
        f"fails {what} on {shape}: {in_one_line(error)}",
        "what docs/own_networks.md asks of a module",
      ) from error

  if not plain:
    features, _ = traced(
      "in evaluation mode",
      lambda k, x: network.init_with_output(k, x, False, method="features"),
      key,
      images,
    )
    _check_array(features, (2, None, None, None), f"features of {shape}", place)
  (features, logits), variables = traced(
    "in evaluation mode",
    lambda k, x: network.init_with_output(k, x, False, method=forward),
    key,
    images,
  )
  others = sorted(set(variables) - set(_STATE))
  if others:
    raise place.refusal(
      f"keeps state in {', '.join(map(repr, others))}", "parameters and 'batch_stats' alone"
    )
  odd = {str(x.dtype) for x in jax.tree.leaves(variables) if x.dtype != jnp.float32}
  if odd:
    raise place.refusal(
      f"keeps {', '.join(sorted(odd))} variables", "float32; compute in the field `dtype`"
    )
  _check_array(logits, (2, place.num_classes), f"logits of {shape}", place)
  traced(
    "in evaluation mode", lambda v, x: network.apply(v, x, False, method=forward), variables, images
  )

  def training_step(variables: Any, x: Array, k: Array) -> Any:
    rngs = {"dropout": k}
    return network.apply(variables, x, True, method=forward, mutable=["batch_stats"], rngs=rngs)

  # Without its axis, which exists in a mapped step alone.
  if getattr(network, "axis_name", None) is not None:
    network = network.clone(axis_name=None)
  (features_in_training, logits_in_training), _ = traced(
    "in training mode", training_step, variables, images, key
  )
  if (features, logits) != (features_in_training, logits_in_training):
    raise place.refusal(
      "has outputs of another shape or type in training mode", "the same as in evaluation mode"
    )


def _check_array(found: Any, shape: tuple[int | None, ...], what: str, place: Place) -> None:
  accepted = ["batch" if size == 2 and not axis else size for axis, size in enumerate(shape)]
  text = "[" + ", ".join("any" if size is None else str(size) for size in accepted) + "]"
  if not isinstance(found, jax.ShapeDtypeStruct):
    raise place.refusal(f"returns {type(found).__name__} as {what}", f"one array {text}")
  fits = len(found.shape) == len(shape) and all(
    wanted in (None, size) for wanted, size in zip(shape, found.shape, strict=True)
  )
  if not fits or not jnp.issubdtype(found.dtype, jnp.floating):
    raise place.refusal(
      f"returns {found.dtype} {found.shape} as {what}",
      f"floating point {text}, for {place.num_classes} classes",
    )


def in_one_line(error: BaseException) -> str:
  """An error of the user's code, without Flax's address of an explanation."""
  text = " ".join(str(error).partition("(https://flax")[0].split())
  return f"{type(error).__name__}: {text[:300]}"
