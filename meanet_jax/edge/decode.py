"""From an image file to the pixels that an exported edge takes."""

from pathlib import Path

from meanet_jax.errors import UserError
from meanet_jax.images.decoding import MODES, Decoded, UndecodableImageError, decode
from meanet_jax.images.preprocessing import Preprocessing


def decode_file(
  path: str | Path, shape: tuple[int, int, int], preprocessing: Preprocessing
) -> Decoded:
  """An image file as uint8 [h, w, c], the pixels that an evaluation sees of it.

  Args:
    path: of the file.
    shape: height, width, channels (1 to 4).
    preprocessing: as `edge.json` records it.

  Raises:
    UserError: a file that is missing or no image, 32 bits per channel, another number of channels,
      or no Pillow.
  """
  channels = shape[2]
  if channels not in MODES:
    raise UserError(f"the network takes {channels} channels; accepted from image files: 1 to 4")
  if Path(path).exists() and not Path(path).is_file():
    raise UserError(f"image {path} cannot be read: it is no regular file; accepted: an image file")
  try:
    decoded = decode(path, channels)
  except UndecodableImageError as error:
    raise UserError(f"image {path} cannot be read: {error}; accepted: an image file") from error
  return decoded._replace(pixels=preprocessing(decoded.pixels, shape))
