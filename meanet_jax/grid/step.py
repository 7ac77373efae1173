"""The step of many trials: each is the ordinary train step, its numbers arguments.

Shapes are those on one device; `training/parallel.py` adds a leading device axis to all arrays.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

from meanet_jax.config.schema import DatasetConfig
from meanet_jax.config.stages import StageConfig
from meanet_jax.data.batches import Batch
from meanet_jax.models.meanet import MEANet, Network, Outputs
from meanet_jax.training.hyperparameters import Hyperparameters
from meanet_jax.training.optimizers import make_optimizer
from meanet_jax.training.stages import Stage
from meanet_jax.training.state import TrainState
from meanet_jax.training.steps import Recipe, Sums, make_forward, make_train_step

PyTree = Any
Batching = Literal["vmap", "unroll"]


class Carried(NamedTuple):
  """What a trial's step reads and writes.

  alive: false once its loss was not finite; its state is frozen from then on.
  """

  state: TrainState
  alive: Bool[Array, ""]


class Constants(NamedTuple):
  """A trial's numbers.

  rates: the learning rate of every step, padded. steps: of the stage; later ones change nothing.
  source: which of its device's sources it learns from. numbers: the configuration's, arrays [],
  without a learning rate, with a loss weight for every exit. dropout: of the stage's network.
  """

  rates: Float[Array, " t"]
  steps: Int[Array, ""]
  source: Int[Array, ""]
  numbers: Hyperparameters
  dropout: Float[Array, ""]


class Sources(NamedTuple):
  """What trials that share images share: s of them on a device.

  keys: raw, of the stage's steps. to_hard: the label map of the hard classes; None for a
  stage that needs none.
  """

  keys: UInt32[Array, "s 2"]
  to_hard: Int[Array, "s c"] | None


def make_trial_step(
  model: MEANet,
  stage: Stage,
  config: StageConfig,
  dataset: DatasetConfig,
  dropout: bool,
) -> Callable[..., tuple[Carried, Sums]]:
  """The step of one trial among those of its device.

  Args:
    model: without a mapped axis.
    stage, config, dataset: what all trials have in common.
    dropout: whether any trial drops features.

  Returns:
    A function of what is carried, the trial's constants, the device's sources, the store and the
    device's batches (`index` int32 [s, b] into the store, or `image`; `label`, `position`) to what
    is carried next and the metric sums of the ordinary step.
  """

  def step(
    carried: Carried, constants: Constants, sources: Sources, store: Batch, batches: Batch
  ) -> tuple[Carried, Sums]:
    state = carried.state
    of = _chooser(constants.source, len(sources.keys))
    batch = jax.tree.map(of, batches)
    index = batch.pop("index", None)
    if index is not None:
      batch["image"] = store["image"].take(index)
    last = constants.rates.shape[0] - 1
    rate = jnp.take(constants.rates, jnp.minimum(state.step, last))
    numbers = constants.numbers._replace(learning_rate=rate)
    own = make_train_step(
      with_dropout(model, stage, constants.dropout if dropout else 0.0),
      stage,
      Recipe(config, make_optimizer(config, 1, numbers), numbers),
      dataset,
      to_hard=None if sources.to_hard is None else of(sources.to_hard),
    )
    new, sums = own(state, batch, jax.random.wrap_key_data(of(sources.keys)))
    due = state.step < constants.steps
    finite = jnp.isfinite(sums["loss"]) & jnp.isfinite(sums["gradient_norm"])
    takes = carried.alive & due & finite
    kept = jax.tree.map(lambda ours, theirs: jnp.where(takes, ours, theirs), new, state)
    return Carried(kept, carried.alive & (finite | ~due)), sums

  return step


def with_dropout(model: MEANet, stage: Stage, rate: Any) -> MEANet:
  """The model with another dropout in the blocks of a stage that have one."""
  blocks = [
    block
    for block in ("main", "cloud")
    if block in stage.trainable and isinstance(getattr(model, block), Network)
  ]
  return model.clone(**{block: getattr(model, block).clone(dropout=rate) for block in blocks})


def batch_steps(trial: Callable[..., tuple[Carried, Sums]], batching: Batching) -> Callable:
  """The step of a device's trials: (carried, (constants, sources), store, batches) -> both.

  What is carried and the constants are stacked [m, ...] with `vmap`, and tuples of m with `unroll`;
  sums are [m] either way.
  """

  def vmapped(carried: Carried, constants: Any, store: Batch, batches: Batch) -> Any:
    axes = (0, 0, None, None, None)
    return jax.vmap(trial, in_axes=axes)(carried, *constants, store, batches)

  def unrolled(carried: tuple[Carried, ...], constants: Any, store: Batch, batches: Batch) -> Any:
    traced_once = jax.jit(trial)
    own, sources = constants
    results = [
      traced_once(c, n, sources, store, batches) for c, n in zip(carried, own, strict=True)
    ]
    sums = jax.tree.map(lambda *values: jnp.stack(values), *(result[1] for result in results))
    return tuple(result[0] for result in results), sums

  return vmapped if batching == "vmap" else unrolled


def batch_forwards(
  model: MEANet, stage: Stage, dataset: DatasetConfig, batching: Batching
) -> Callable[[Any, Array], Outputs]:
  """Logits [m, b, ...] of a stage's exits for a device's trials, all of the same images."""
  forward = make_forward(model, stage.exits, dataset)

  def trial(carried: Carried, images: Array) -> Outputs:
    state = carried.state
    return forward(state.frozen | state.learned(), images)

  def unrolled(carried: tuple[Carried, ...], images: Array) -> Outputs:
    traced_once = jax.jit(trial)
    return jax.tree.map(lambda *x: jnp.stack(x), *(traced_once(c, images) for c in carried))

  return jax.vmap(trial, in_axes=(0, None)) if batching == "vmap" else unrolled


def choose_batching(configured: str) -> Batching:
  """`auto` as the backend wants it.

  XLA:CPU runs the batched convolutions of `vmap` 1.6 to 3.8 times slower than one after another;
  accelerators run them as one large one.
  """
  if configured == "auto":
    return "unroll" if jax.default_backend() == "cpu" else "vmap"
  return "vmap" if configured == "vmap" else "unroll"


def stack(slots: Sequence[Sequence[PyTree]], batching: Batching) -> PyTree:
  """Trees of trials [devices][m] as one, on the host, as the mapped steps take them."""
  if batching == "vmap":
    return jax.tree.map(
      lambda *rows: np.stack(rows),
      *(jax.tree.map(lambda *x: np.stack(x), *device) for device in slots),
    )
  return tuple(
    jax.tree.map(lambda *x: np.stack(x), *(device[place] for device in slots))
    for place in range(len(slots[0]))
  )


def unstack(tree: PyTree, device: int, place: int, batching: Batching) -> PyTree:
  """One trial's own tree of a stacked one that was fetched to the host."""
  if batching == "vmap":
    return jax.tree.map(lambda x: np.array(x[device, place]), tree)
  return jax.tree.map(lambda x: np.array(x[device]), tree[place])


def _chooser(source: Int[Array, ""], count: int) -> Callable[[Array], Array]:
  # One source needs no choice, and under `vmap` its images are augmented once for all trials.
  return (lambda x: x[0]) if count == 1 else (lambda x: jnp.take(x, source, axis=0))
