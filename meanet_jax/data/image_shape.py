"""Whether the configured image shape is one that a set's images have or can be given."""

from meanet_jax.config.schema import DatasetConfig
from meanet_jax.errors import UserError
from meanet_jax.images.decoding import MODES


def check_image_shape(config: DatasetConfig, shape: tuple[int | None, ...], name: str) -> None:
  """Refuses a configured shape other than a set's.

  Args:
    config: with the shape.
    shape: height, width and channels that the set declares; None where images differ.
    name: of the set.

  Raises:
    UserError: with the set's shape.
  """
  fits = all(found in (None, asked) for found, asked in zip(shape, config.image_shape, strict=True))
  if not fits:
    accepted = ", ".join("any" if found is None else str(found) for found in shape)
    raise UserError(
      f"dataset.image_shape is {config.image_shape}; accepted: ({accepted}), as {name} has"
    )
  if config.image_shape[2] not in MODES:
    channels = config.image_shape[2]
    raise UserError(
      f"dataset.image_shape has {channels} channels; accepted from images: 1 (grey), 2 (grey and "
      "alpha), 3 (RGB) or 4 (RGB and alpha)"
    )
