"""Augmentation and normalisation on the device, inside the step.

Every image draws from a key of its own, folded from the step's key and the image's place in the
global batch, so that the number of devices changes nothing.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt8

from meanet_jax.config import AugmentConfig


def normalise(
  images: UInt8[Array, "*b h w c"], mean: tuple[float, ...], std: tuple[float, ...]
) -> Float[Array, "*b h w c"]:
  """(image / 255 - mean) / std per channel, in float32."""
  scale = 1 / (255 * jnp.asarray(std, jnp.float32))
  offset = jnp.asarray(mean, jnp.float32) / jnp.asarray(std, jnp.float32)
  ones = (1,) * (images.ndim - 1)
  return images.astype(jnp.float32) * scale.reshape(*ones, -1) - offset.reshape(*ones, -1)


def augment(
  images: UInt8[Array, "b h w c"],
  positions: Int[Array, " b"],
  key: Key[Array, ""],
  config: AugmentConfig,
) -> UInt8[Array, "b h w c"]:
  """Randomly cropped and mirrored images.

  Args:
    images: one shard of the batch.
    positions: each image's place in the global batch.
    key: the step's key.
    config: static; a field that is off costs nothing.
  """
  keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, positions)
  if config.pad_crop:
    images = jax.vmap(lambda image, k: _pad_crop(image, k, config.pad_crop))(images, keys)
  if config.flip:
    images = jax.vmap(_flip)(images, keys)
  return images


def _pad_crop(image: UInt8[Array, "h w c"], key: Key[Array, ""], pad: int) -> UInt8[Array, "h w c"]:
  padded = jnp.pad(image, ((pad, pad), (pad, pad), (0, 0)))
  row, column = jax.random.randint(jax.random.fold_in(key, 0), (2,), 0, 2 * pad + 1)
  return jax.lax.dynamic_slice(padded, (row, column, jnp.zeros_like(row)), image.shape)


def _flip(image: UInt8[Array, "h w c"], key: Key[Array, ""]) -> UInt8[Array, "h w c"]:
  return jnp.where(jax.random.bernoulli(jax.random.fold_in(key, 1)), image[:, ::-1], image)
