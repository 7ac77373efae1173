"""Augmentation and normalisation on the device, inside the step.

Every image draws from a key of its own, folded from the step's key and the image's place in the
global batch, so that the number of devices changes nothing.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, UInt8

from meanet_jax.config.stages import AugmentConfig


def normalise(
  images: UInt8[Array, "*b h w c"] | Float[Array, "*b h w c"],
  mean: tuple[float, ...],
  std: tuple[float, ...],
) -> Float[Array, "*b h w c"]:
  """(image / 255 - mean) / std per channel, in float32, of pixels 0 .. 255 in either type."""
  scale = 1 / (255 * jnp.asarray(std, jnp.float32))
  offset = jnp.asarray(mean, jnp.float32) / jnp.asarray(std, jnp.float32)
  ones = (1,) * (images.ndim - 1)
  return images.astype(jnp.float32) * scale.reshape(*ones, -1) - offset.reshape(*ones, -1)


def augment(
  images: UInt8[Array, "b h w c"],
  positions: Int[Array, " b"],
  key: Key[Array, ""],
  config: AugmentConfig,
  mean: tuple[float, ...] = (0.5,),
) -> UInt8[Array, "b h w c"]:
  """Randomly cropped, mirrored, recoloured and blanked images.

  Args:
    images: one shard of the batch.
    positions: each image's place in the global batch.
    key: the step's key.
    config: static; a field that is off costs nothing.
    mean: per channel (or one for all) in [0, 1], what a cutout is filled with.
  """
  keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, positions)
  if config.pad_crop:
    images = jax.vmap(lambda image, k: _pad_crop(image, k, config.pad_crop))(images, keys)
  if config.random_resized_crop:
    images = jax.vmap(_random_resized_crop)(images, keys)
  if config.flip:
    images = jax.vmap(_flip)(images, keys)
  if config.colour_jitter:
    images = jax.vmap(lambda image, k: _colour_jitter(image, k, config.colour_jitter))(images, keys)
  if config.cutout:
    fill = jnp.asarray([round(255 * value) for value in mean], jnp.uint8)
    images = jax.vmap(lambda image, k: _cutout(image, k, config.cutout, fill))(images, keys)
  return images


def _pad_crop(image: UInt8[Array, "h w c"], key: Key[Array, ""], pad: int) -> UInt8[Array, "h w c"]:
  padded = jnp.pad(image, ((pad, pad), (pad, pad), (0, 0)))
  row, column = jax.random.randint(jax.random.fold_in(key, 0), (2,), 0, 2 * pad + 1)
  return jax.lax.dynamic_slice(padded, (row, column, jnp.zeros_like(row)), image.shape)


def crop_box(key: Key[Array, ""], height: int, width: int) -> Float[Array, " 4"]:
  """Top, left, height and width of a random crop, in pixels (whole numbers).

  As torchvision's RandomResizedCrop: area uniform in 8% to 100%, aspect ratio log-uniform in 3/4
  to 4/3, the first of ten draws that fits, and the whole image if none does.
  """
  keys = jax.random.split(key, 4)
  area = height * width * jax.random.uniform(keys[0], (10,), minval=0.08, maxval=1.0)
  bound = math.log(4 / 3)
  ratio = jnp.exp(jax.random.uniform(keys[1], (10,), minval=-bound, maxval=bound))
  heights, widths = jnp.round(jnp.sqrt(area / ratio)), jnp.round(jnp.sqrt(area * ratio))
  fits = (heights <= height) & (widths <= width) & (heights >= 1) & (widths >= 1)
  first = jnp.argmax(fits)
  any_fits = jnp.any(fits)
  crop_height = jnp.where(any_fits, heights[first], float(height))
  crop_width = jnp.where(any_fits, widths[first], float(width))
  top = jnp.floor(jax.random.uniform(keys[2]) * (height - crop_height + 1))
  left = jnp.floor(jax.random.uniform(keys[3]) * (width - crop_width + 1))
  return jnp.stack([top, left, crop_height, crop_width])


def _random_resized_crop(
  image: UInt8[Array, "h w c"], key: Key[Array, ""]
) -> UInt8[Array, "h w c"]:
  size = jnp.asarray(image.shape[:2], jnp.float32)
  box = crop_box(jax.random.fold_in(key, 2), *image.shape[:2])
  scale = size / box[2:]
  resized = jax.image.scale_and_translate(
    image.astype(jnp.float32), image.shape, (0, 1), scale, -box[:2] * scale, "linear"
  )
  return jnp.clip(jnp.round(resized), 0, 255).astype(jnp.uint8)


def _flip(image: UInt8[Array, "h w c"], key: Key[Array, ""]) -> UInt8[Array, "h w c"]:
  return jnp.where(jax.random.bernoulli(jax.random.fold_in(key, 1)), image[:, ::-1], image)


# Luma weights of ITU-R BT.601, which Pillow and torchvision convert to grey with.
GREY = (0.299, 0.587, 0.114)


def _colour_jitter(
  image: UInt8[Array, "h w c"], key: Key[Array, ""], strength: float
) -> UInt8[Array, "h w c"]:
  factors = jax.random.uniform(
    jax.random.fold_in(key, 3), (3,), minval=1 - strength, maxval=1 + strength
  )
  colours = 1 if image.shape[-1] < 3 else 3  # an alpha channel is no colour
  image, alpha = image[..., :colours], image[..., colours:]
  pixels = image.astype(jnp.float32)
  pixels = jnp.clip(pixels * factors[0], 0, 255)
  pixels = jnp.clip(_blend(pixels, jnp.mean(_grey(pixels)), factors[1]), 0, 255)
  pixels = jnp.clip(_blend(pixels, _grey(pixels), factors[2]), 0, 255)
  return jnp.concatenate([jnp.round(pixels).astype(jnp.uint8), alpha], axis=-1)


def _grey(pixels: Float[Array, "h w c"]) -> Float[Array, "h w 1"]:
  if pixels.shape[-1] == 1:
    return pixels
  weights = jnp.asarray(GREY, jnp.float32).reshape(1, 1, -1)
  return jnp.sum(pixels * weights, axis=-1, keepdims=True)


def _blend(
  pixels: Float[Array, "h w c"], towards: Float[Array, "..."], factor: Float[Array, ""]
) -> Float[Array, "h w c"]:
  return factor * pixels + (1 - factor) * towards


def _cutout(
  image: UInt8[Array, "h w c"], key: Key[Array, ""], size: int, fill: UInt8[Array, " f"]
) -> UInt8[Array, "h w c"]:
  height, width, _ = image.shape
  rows = jax.random.randint(jax.random.fold_in(key, 4), (), 0, height)
  columns = jax.random.randint(jax.random.fold_in(key, 5), (), 0, width)
  # The square reaches from size // 2 before the centre to size - 1 pixels further.
  inside_rows = _within(jnp.arange(height), rows, size)
  inside_columns = _within(jnp.arange(width), columns, size)
  inside = inside_rows[:, None, None] & inside_columns[None, :, None]
  return jnp.where(inside, jnp.broadcast_to(fill, image.shape[-1:]), image)


def _within(places: Int[Array, " n"], centre: Int[Array, ""], size: int) -> Bool[Array, " n"]:
  start = centre - size // 2
  return (places >= start) & (places < start + size)
