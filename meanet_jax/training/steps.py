"""Pure steps. They know nothing of `pmap`: what crosses devices arrives as functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key

from meanet_jax.config.schema import DatasetConfig
from meanet_jax.config.stages import StageConfig
from meanet_jax.data.augment import augment, normalise
from meanet_jax.data.batches import Batch
from meanet_jax.keys import named_key
from meanet_jax.models.meanet import Exits, MEANet, Outputs
from meanet_jax.models.variables import Variables, by_collection
from meanet_jax.training.hyperparameters import Hyperparameters
from meanet_jax.training.losses import ExitLoss, exit_logits
from meanet_jax.training.stages import Stage
from meanet_jax.training.state import TrainState, averaged

PyTree = Any
Sums = dict[str, Array]
TrainStep = Callable[[TrainState, Batch, Array], tuple[TrainState, Sums]]


class Reduce(NamedTuple):
  """Mean and sum over the shards of a batch; identities when there is one shard."""

  mean: Callable[[PyTree], PyTree] = lambda tree: tree
  sum: Callable[[PyTree], PyTree] = lambda tree: tree


class _Summed(NamedTuple):
  """What micro-batches add up: gradients of their mean losses, and the metric sums."""

  gradients: PyTree
  sums: Sums


def _split(batch: Batch, parts: int) -> list[Batch]:
  size = batch["label"].shape[0] // parts
  return [{name: x[i * size : (i + 1) * size] for name, x in batch.items()} for i in range(parts)]


def _zero_once_known(gradients: PyTree) -> Float[Array, ""]:
  """Zero (NaN for gradients that are not finite), but only after the gradients.

  A compiler that is free to run all forward passes first keeps all their activations. XLA:CPU does,
  and drops `optimization_barrier` before it schedules; a product with 0 it must compute.
  """
  return 0 * jnp.sum(jnp.stack([leaf.ravel()[0] for leaf in jax.tree.leaves(gradients)]))


class Recipe(NamedTuple):
  """How a stage learns.

  config: the stage's. tx: the optimiser made from it.
  numbers: in the place of the configuration's; None for its own.
  """

  config: StageConfig
  tx: optax.GradientTransformation
  numbers: Hyperparameters | None = None


def make_train_step(
  model: MEANet,
  stage: Stage,
  recipe: Recipe,
  dataset: DatasetConfig,
  reduce: Reduce | None = None,
  to_hard: Int[np.ndarray, " c"] | Int[Array, " c"] | None = None,
) -> TrainStep:
  """The step of a stage: (state, batch, key) -> (state, metric sums).

  Args:
    model, stage, recipe: what learns, and how.
    dataset: how its images are normalised.
    reduce: means and sums over the shards of a batch; None for one shard.
    to_hard: the label map of the run's hard classes; None for a stage without an extension, or one
      that learns from hard images without a teacher. Where a stage learns from all images and its
      extension has hard classes alone, the others leave an image out of the extension's loss.

  Returns:
    A function of a state, one shard of a batch (`image` uint8 [b, h, w, c], `label` int32 [b],
    `position` int32 [b]) and the stage's key, into which the state's step is folded. The sums are
    over the global batch: `loss` (of `examples` images), `correct` (of `count` images whose
    class the watched exit has); and `gradient_norm`, of the mean loss. A shard holds a multiple of
    `accumulate` images: neighbours make a micro-batch.
  """
  across, config, tx = reduce or Reduce(), recipe.config, recipe.tx
  numbers = recipe.numbers or Hyperparameters.of(config)
  exit_loss = ExitLoss(stage, numbers, to_hard)

  def backward(
    state: TrainState,
    batch_stats: PyTree,
    batch: Batch,
    key: Key[Array, ""],
    shares: PyTree,
    after: PyTree | None,
  ) -> tuple[_Summed, PyTree]:
    images = augment(batch["image"], batch["position"], key, config.augment, dataset.mean)
    images = normalise(images, dataset.mean, dataset.std)
    if after is not None:
      images = images + _zero_once_known(after)
    # Each batch drops other features: its key holds the place of its first image.
    dropout_key = jax.random.fold_in(jax.random.fold_in(key, 1), batch["position"][0])
    frozen = by_collection(state.frozen)
    teacher = None
    if stage.teacher:  # outside of what is differentiated, and in evaluation mode
      teacher = exit_logits(model.apply(frozen, images, exits=Exits.CLOUD), Exits.CLOUD)

    def loss_fn(params: PyTree) -> tuple[Float[Array, ""], tuple[PyTree, Array]]:
      variables = {
        "params": frozen["params"] | params,
        "batch_stats": frozen["batch_stats"] | batch_stats,
      }
      outputs, updates = model.apply(
        variables,
        images,
        exits=stage.computed,
        train=stage.trainable,
        mutable=["batch_stats"],
        rngs={"dropout": dropout_key},
      )
      losses = [exit_loss(outputs, exit, batch, shares[exit], teacher) for exit in stage.exits]
      if numbers.loss_weights:
        weighed = zip(numbers.loss_weights, losses, strict=True)
        losses = [weight * loss for weight, loss in weighed]
      return sum(losses, jnp.zeros(())), (
        updates.get("batch_stats", {}),
        exit_logits(outputs, stage.watched),
      )

    (loss, (after, logits)), gradients = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    size = batch["label"].shape[0]
    labels = exit_loss.labels(stage.watched, batch["label"])
    sums = {
      "loss": loss * size,
      "examples": jnp.asarray(size, jnp.float32),
      "correct": jnp.sum(jnp.argmax(logits, -1) == labels, dtype=jnp.float32),
      "count": jnp.sum(labels >= 0, dtype=jnp.float32),
    }
    return _Summed(gradients, sums), {block: after.get(block, {}) for block in batch_stats}

  def train_step(state: TrainState, batch: Batch, key: Key[Array, ""]) -> tuple[TrainState, Sums]:
    step_key = jax.random.fold_in(key, state.step)
    # Shares over the *global* batch, so that parts with few hard images weigh less.
    shares = {
      exit: across.mean(jnp.mean(exit_loss.counted(exit, batch["label"]))) for exit in stage.exits
    }
    batch_stats, total = state.batch_stats, None
    # Unrolled: XLA:CPU runs a convolutional step four to five times slower in a `lax.scan`.
    for part in _split(batch, config.accumulate):
      after = None if total is None else total.gradients
      summed, batch_stats = backward(state, batch_stats, part, step_key, shares, after)
      total = summed if total is None else jax.tree.map(jnp.add, total, summed)
    assert total is not None
    gradients = across.mean(jax.tree.map(lambda x: x / config.accumulate, total.gradients))
    updates, opt_state = tx.update(gradients, state.opt_state, state.params)
    new_state = state.replace(
      step=state.step + 1,
      params=optax.apply_updates(state.params, updates),
      batch_stats=batch_stats if model.synchronised else across.mean(batch_stats),
      opt_state=opt_state,
    )
    if state.average is not None:
      new_state = averaged(new_state, numbers.ema_decay)
    sums = across.sum(total.sums)
    return new_state, sums | {"gradient_norm": optax.tree.norm(gradients)}

  return train_step


def make_forward(
  model: MEANet, exits: Exits, dataset: DatasetConfig
) -> Callable[[Variables, Array], Outputs]:
  """The evaluation forward pass: (variables, uint8 images [b, h, w, c]) -> logits per exit."""

  def forward(variables: Variables, images: Array) -> Outputs:
    outputs = model.apply(
      by_collection(variables), normalise(images, dataset.mean, dataset.std), exits
    )
    assert isinstance(outputs, Outputs)
    return outputs

  return forward


def stage_key(seed: int, stage: str) -> Key[Array, ""]:
  """The key of a stage's steps, folded from (seed, stage)."""
  return named_key(seed, f"{stage} steps")
