"""A grid's step of many trials on one device, with its abstract arguments."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from meanet_jax.config.schema import Config
from meanet_jax.data.device_resident import ResidentImages
from meanet_jax.grid.step import (
  Batching,
  Carried,
  Constants,
  Sources,
  batch_steps,
  make_trial_step,
)
from meanet_jax.models.variables import abstract_variables
from meanet_jax.models.zoo import build
from meanet_jax.training.hyperparameters import Hyperparameters
from meanet_jax.training.optimizers import make_optimizer
from meanet_jax.training.stages import MAIN
from meanet_jax.training.state import create_state


def trials_step(
  config: Config, trials: int, batching: Batching, resident: int = 45_000
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
  """The step of stage main for so many trials with seeds of their own, and shapes for it.

  Args:
    config: that all trials share.
    trials: on the device.
    batching: how they are batched.
    resident: images of the data set on the device.

  Returns:
    The function and its abstract arguments: what is carried, the constants with the sources, the
    store, and the batches.
  """
  settings, model = config.stages.main, build(config)
  tx = make_optimizer(settings, 1)
  variables = abstract_variables(model, config.dataset.image_shape)
  state = jax.eval_shape(lambda v: create_state(MAIN, {"main": v["main"]}, tx), variables)
  scalar = jax.ShapeDtypeStruct((), jnp.float32)
  integer = jax.ShapeDtypeStruct((), jnp.int32)
  numbers = Hyperparameters.of(settings)._replace(loss_weights=(1.0,))  # as `TrialState.constants`
  numbers = jax.tree.map(lambda _: scalar, numbers)
  one = (
    Carried(state, jax.ShapeDtypeStruct((), jnp.bool_)),
    Constants(jax.ShapeDtypeStruct((1000,), jnp.float32), integer, integer, numbers, scalar),
  )
  if batching == "vmap":
    stacked = jax.tree.map(lambda x: jax.ShapeDtypeStruct((trials, *x.shape), x.dtype), one)
  else:
    stacked = tuple((part,) * trials for part in one)
  # Every trial has a seed of its own, and so batches of its own: nothing is shared but the store.
  sources = Sources(jax.ShapeDtypeStruct((trials, 2), jnp.uint32), None)
  images = ResidentImages.abstract(resident, config.dataset.image_shape)
  batch = jax.ShapeDtypeStruct((trials, settings.batch_size), jnp.int32)
  batches = {"index": batch, "label": batch, "position": batch}
  step = batch_steps(make_trial_step(model, MAIN, settings, config.dataset, False), batching)
  return step, (stacked[0], (stacked[1], sources), {"image": images}, batches)
