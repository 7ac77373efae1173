"""How a step is mapped over devices: `jax.pmap`, the batch split evenly. No other module does it.

State and images have no device axis (`in_axes=None`): every device holds all of them. With several
processes, each passes its own devices their part of the batch, and what has no device axis is the
same in all. The mapped axis runs over the devices of process 0, then over those of process 1, ...
"""

import functools
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int

from meanet_jax.data.batches import BLOCK, Batch
from meanet_jax.errors import UserError
from meanet_jax.training.steps import Reduce, TrainStep

AXIS = "batch"
PyTree = Any

ACROSS_DEVICES = Reduce(
  mean=functools.partial(jax.lax.pmean, axis_name=AXIS),
  sum=functools.partial(jax.lax.psum, axis_name=AXIS),
)


def check_batch_size(
  batch_size: int, field: str, accumulate: int = 1, devices: int | None = None
) -> None:
  """Refuses a global batch that the devices, or a step's micro-batches, cannot share evenly."""
  devices = devices or jax.device_count()
  if batch_size % (devices * accumulate):
    accepted = f"the {devices} devices"
    if accumulate > 1:
      accepted = f"{devices * accumulate}, for {devices} devices x {accumulate} micro-batches"
    raise UserError(f"{field} is {batch_size}; accepted: a multiple of {accepted}")


def replicate(tree: PyTree) -> PyTree:
  """A copy of every array on every device of this process, laid out as mapped steps return it."""
  mesh = Mesh(np.array(jax.local_devices()), (AXIS,))
  return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def shard(batch: PyTree) -> PyTree:
  """Every array [b, ...] of this process as [devices, b / devices, ...]."""
  devices = jax.local_device_count()
  return jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)


def ahead(
  batches: Iterable[Batch], by_device: Callable[[Batch], Batch] = shard
) -> Generator[Batch, None, None]:
  """Batches on the devices, each put there while the one before it is worked on.

  What comes several times in a row is put there once.

  Args:
    batches: on the host.
    by_device: gives a batch's arrays a leading axis of this process's devices.
  """
  mesh = Mesh(np.array(jax.local_devices()), (AXIS,))
  sharding = NamedSharding(mesh, PartitionSpec(AXIS))
  waiting = on_devices = put = None
  for batch in batches:
    if batch is not put:
      on_devices, put = jax.device_put(by_device(batch), sharding), batch
    if waiting is not None:
      yield waiting
    waiting = on_devices
  if waiting is not None:
    yield waiting


def fetch(store: Batch, batch: Batch, step: Int[Array, ""] | int) -> Batch:
  """On the device: `image`, `label` and `position` of a batch.

  Args:
    store: `image` (`ResidentImages`) and `label` of a split in memory; empty when batches bring
      their own.
    batch: image numbers `index` [b, BLOCK] into the store, of all steps of a block; or `image` and
      `label` themselves; `position`.
    step: how many steps were taken before this one.
  """
  if not store:
    return batch
  index = jax.lax.dynamic_index_in_dim(batch["index"], step % BLOCK, axis=1, keepdims=False)
  return {
    "image": store["image"].take(index),
    "label": jnp.take(store["label"], index, axis=0),
    "position": batch["position"],
  }


def map_train_step(step: TrainStep, devices: Sequence[Any] | None = None) -> Any:
  """(state, store, sharded batch, key) -> (state, sums); the state's buffers are reused.

  Args:
    step: of one shard.
    devices: those to compile for, if they are not this program's own.
  """

  def on_device(state: PyTree, store: PyTree, batch: PyTree, key: jax.Array) -> Any:
    return step(state, fetch(store, batch, state.step), key)

  return jax.pmap(
    on_device,
    axis_name=AXIS,
    in_axes=(None, None, 0, None),
    out_axes=None,
    donate_argnums=(0,),
    devices=devices,
  )


def map_forward(
  forward: Callable[[PyTree, jax.Array], PyTree], devices: Sequence[Any] | None = None
) -> Callable[..., Any]:
  """(variables, sharded images) -> outputs of all shards, [b, ...].

  Args:
    forward: of one shard.
    devices: those that it runs on; None for those of all processes.
  """

  def on_device(variables: PyTree, images: jax.Array) -> PyTree:
    outputs = forward(variables, images)
    return jax.tree.map(lambda x: jax.lax.all_gather(x, AXIS, tiled=True), outputs)

  return jax.pmap(on_device, axis_name=AXIS, in_axes=(None, 0), out_axes=None, devices=devices)


def devices_of_trials() -> int:
  """How many devices this process trains a grid's trials on."""
  return jax.local_device_count()


def spread(tree: PyTree) -> PyTree:
  """Arrays [devices, ...], a row on each device."""
  mesh = Mesh(np.array(jax.local_devices()), (AXIS,))
  return jax.device_put(tree, NamedSharding(mesh, PartitionSpec(AXIS)))


def map_trials(step: Callable[..., Any]) -> Callable[..., Any]:
  """(carried, constants, store, batch) -> (carried, sums), of the trials of each device.

  Every argument but the store has a leading device axis. Nothing crosses it: no trial learns from
  another's images, or waits for another's device. What is carried gives up its buffers.
  """
  # The axis has the name that `spread` gives it: carried under another, the results of the first
  # call would be other arguments to the second, and compiled for again.
  return jax.pmap(
    step,
    axis_name=AXIS,
    in_axes=(0, 0, None, 0),
    donate_argnums=(0,),
    devices=jax.local_devices(),
  )


def map_trials_forward(forward: Callable[..., Any]) -> Callable[..., Any]:
  """(carried, images) -> outputs, of the trials of each device, which all see the same images."""
  return jax.pmap(forward, axis_name=AXIS, in_axes=(0, None), devices=jax.local_devices())
