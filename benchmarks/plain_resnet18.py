"""A ResNet-18 training step written the ordinary way, to hold ours against; see aot.py.

Flax's modules with their defaults wherever torchvision's network allows: explicit padding, batch
norm over all devices, SGD with momentum and weight decay, a `pmap` over replicated state. It
shares the augmentation with the step that it is compared with, and nothing else.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.training import train_state

from meanet_jax.config.schema import Config
from meanet_jax.data.augment import augment, normalise
from meanet_jax.data.batches import left_for_device

AXIS = "devices"


class _Block(nn.Module):
  width: int
  stride: int
  dtype: Any

  @nn.compact
  def __call__(self, x: Any) -> Any:
    def norm() -> Any:
      return nn.BatchNorm(use_running_average=False, momentum=0.9, dtype=self.dtype, axis_name=AXIS)

    def conv(kernel: int, stride: int) -> Any:
      size, pad = (kernel, kernel), (kernel - 1) // 2
      return nn.Conv(self.width, size, stride, pad, use_bias=False, dtype=self.dtype)

    y = nn.relu(norm()(conv(3, self.stride)(x)))
    y = norm()(conv(3, 1)(y))
    if x.shape != y.shape:
      x = norm()(conv(1, self.stride)(x))
    return nn.relu(x + y)


class PlainResNet18(nn.Module):
  """torchvision's ResNet-18 in training mode; images [b, h, w, 3] to float32 logits [b, c]."""

  num_classes: int
  dtype: Any

  @nn.compact
  def __call__(self, x: Any) -> Any:
    """Logits."""
    x = nn.Conv(64, (7, 7), 2, 3, use_bias=False, dtype=self.dtype)(x)
    x = nn.BatchNorm(use_running_average=False, momentum=0.9, dtype=self.dtype, axis_name=AXIS)(x)
    x = nn.max_pool(nn.relu(x), (3, 3), (2, 2), ((1, 1), (1, 1)))
    for stage, width in enumerate((64, 128, 256, 512)):
      for block in range(2):
        x = _Block(width, 2 if stage and not block else 1, self.dtype)(x)
    return nn.Dense(self.num_classes)(jnp.mean(x, axis=(1, 2)).astype(jnp.float32))


class _State(train_state.TrainState):
  batch_stats: Any


def lower_plain_step(config: Config, batch_size: int, devices: Sequence[Any]) -> jax.stages.Lowered:
  """The lowered step at a configuration's main stage, for the devices of a slice."""
  settings, dataset, shape = config.stages.main, config.dataset, config.dataset.image_shape
  model = PlainResNet18(dataset.num_classes, jnp.dtype(config.model.compute_dtype))
  tx = optax.chain(
    optax.add_decayed_weights(settings.weight_decay),
    optax.sgd(settings.learning_rate, settings.momentum),
  )
  kept = left_for_device(settings.augment)

  def create() -> _State:
    variables = model.init(jax.random.key(0), jnp.zeros((1, *shape)))
    return _State.create(
      apply_fn=model.apply,
      params=variables["params"],
      tx=tx,
      batch_stats=variables["batch_stats"],
    )

  def step(state: _State, batch: dict[str, Any], key: Any) -> tuple[_State, dict[str, Any]]:
    step_key = jax.random.fold_in(key, state.step)
    images = augment(batch["image"], batch["position"], step_key, kept, dataset.mean)
    images = normalise(images, dataset.mean, dataset.std)

    def loss_fn(params: Any) -> Any:
      variables = {"params": params, "batch_stats": state.batch_stats}
      logits, updates = model.apply(variables, images, mutable=["batch_stats"])
      losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
      return jnp.mean(losses), (logits, updates)

    (loss, (logits, updates)), gradients = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    gradients = jax.lax.pmean(gradients, AXIS)
    metrics = {"loss": loss, "accuracy": jnp.mean(jnp.argmax(logits, -1) == batch["label"])}
    state = state.apply_gradients(grads=gradients, batch_stats=updates["batch_stats"])
    return state, jax.lax.pmean(metrics, AXIS)

  chips = len(devices)
  sharded = (chips, batch_size // chips)
  # Replicated, as `flax.jax_utils.replicate` does.
  state = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct((chips, *x.shape), x.dtype), jax.eval_shape(create)
  )
  numbers = jax.ShapeDtypeStruct(sharded, jnp.int32)
  batch = {
    "image": jax.ShapeDtypeStruct((*sharded, *shape), jnp.uint8),
    "label": numbers,
    "position": numbers,
  }
  key = jax.eval_shape(lambda: jax.random.key(0))
  mapped = jax.pmap(step, AXIS, in_axes=(0, 0, None), donate_argnums=0, devices=devices)
  return mapped.lower(state, batch, key)
