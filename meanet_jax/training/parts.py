"""Which parts of a stage's blocks learn, and how fast: for networks that are not trained afresh.

A part is named by the dotted path of its parameters, block first: `main.trunk.stage1_block1`,
`cloud.head`.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from meanet_jax.config.schema import Config
from meanet_jax.config.stages import StageConfig, learning_rate_factors
from meanet_jax.errors import UserError
from meanet_jax.models.meanet import MEANet
from meanet_jax.models.variables import abstract_variables
from meanet_jax.training.hyperparameters import Number
from meanet_jax.training.stages import gradient_stages

PyTree = Any


class HeldState(NamedTuple):
  """taken: int32, steps."""

  taken: Int[Array, ""]


def hold_but_head(steps: Number) -> optax.GradientTransformation:
  """No updates but those of heads, for the first so many steps."""

  def update(updates: PyTree, state: HeldState, params: PyTree = None) -> tuple[PyTree, HeldState]:
    del params
    others_learn = state.taken.astype(jnp.float32) >= steps

    def held(path: Any, x: Array) -> Array:
      return x if _is_head(_name(path)) else jnp.where(others_learn, x, jnp.zeros_like(x))

    return jax.tree_util.tree_map_with_path(held, updates), HeldState(state.taken + 1)

  return optax.GradientTransformation(lambda _: HeldState(jnp.zeros((), jnp.int32)), update)


def scale_parts(config: StageConfig) -> optax.GradientTransformation:
  """Updates times each part's factor of the learning rate; none at all of frozen parts."""
  factors = learning_rate_factors(config)

  def scaled(path: Any, x: Array) -> Array:
    name = _name(path)
    factor = 0.0 if _is_frozen(name, config.freeze) else _factor(name, factors)
    if factor == 1:
      return x
    return x * factor if factor else jnp.zeros_like(x)

  def update(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, PyTree]:
    del params
    return jax.tree_util.tree_map_with_path(scaled, updates), state

  return optax.GradientTransformation(lambda _: optax.EmptyState(), update)


def check_parts(config: Config, model: MEANet) -> None:
  """Refuses parts that the networks do not have.

  Raises:
    UserError: a factor's name that is no part of a block that its stage trains, or `head_epochs`
      of a network without a head.
  """
  for stage in gradient_stages(config):
    settings, path = config.stage(stage.name), f"stages.{stage.name}"
    if not (settings.learning_rate_factors or settings.head_epochs):
      continue
    abstract = abstract_variables(model, config.dataset.image_shape)
    params = {block: abstract[block]["params"] for block in stage.trainable if block in abstract}
    names = {_name(key) for key, _ in jax.tree.leaves_with_path(params)}
    for part in learning_rate_factors(settings):
      if not any(_is_below(name, part) for name in names):
        raise UserError(
          f"{path}.learning_rate_factors has {part!r}, which is no part of what the stage trains; "
          f"accepted: {', '.join(_nearby(names, part))}"
        )
    if settings.head_epochs and not any(map(_is_head, names)):
      raise UserError(
        f"{path}.head_epochs is {settings.head_epochs}, and the network has no part named head; "
        "accepted: 0, or a module whose last layer is self.head"
      )


def _nearby(names: Iterable[str], part: str) -> list[str]:
  """The parts below the longest part of a name that exists."""
  parts = part.split(".")
  for depth in range(len(parts), -1, -1):
    start = ".".join(parts[:depth])
    below = {".".join(name.split(".")[: depth + 1]) for name in names if _is_below(name, start)}
    if below:
      return sorted(below)
  return []


def _name(path: Any) -> str:
  return ".".join(str(key.key) for key in path)


def _is_below(name: str, part: str) -> bool:
  return not part or name == part or name.startswith(f"{part}.")


def _is_head(name: str) -> bool:
  return name.split(".")[1] == "head"


def _is_frozen(name: str, stages: int) -> bool:
  if not stages or name.split(".")[1] != "trunk":
    return False
  place = name.split(".")[2]
  return place == "stem" or int(place.removeprefix("stage").partition("_")[0]) <= stages


def _factor(name: str, factors: dict[str, float]) -> float:
  """Of the most exact name that has one; 1 without."""
  found = [part for part in factors if _is_below(name, part)]
  return factors[max(found, key=len)] if found else 1.0
