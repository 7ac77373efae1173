"""Batches of one size, or of few, for evaluation: the last one padded."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8


def parts_of_batches(
  size: int, batch_size: int, part: int, parts: int
) -> Iterator[tuple[range, int]]:
  """The indices of one part of every batch, and how many images the batch has over all parts.

  Both are smaller for the last batch, of which a part may have none.
  """
  share = batch_size // parts
  for start in range(0, size, batch_size):
    stop = min(start + batch_size, size)
    begin = min(start + part * share, stop)
    yield range(begin, min(begin + share, stop)), stop - start


def padded_batches(
  images: UInt8[np.ndarray, "n h w c"], batch_size: int
) -> Iterator[tuple[UInt8[np.ndarray, "b h w c"], int]]:
  """All images in order, in batches of one size; the last is padded with zeros.

  Yields:
    A batch and how many of its images are real.
  """
  for start in range(0, len(images), batch_size):
    yield padded(images[start : start + batch_size], batch_size)


def padded(
  images: UInt8[np.ndarray, "m h w c"], batch_size: int
) -> tuple[UInt8[np.ndarray, "b h w c"], int]:
  """The images followed by zeros, and how many of them are real."""
  padding = batch_size - len(images)
  return np.pad(images, ((0, padding), (0, 0), (0, 0), (0, 0))), len(images)


def bucket_sizes(largest: int) -> list[int]:
  """The sizes to which fewer than a full batch are padded: powers of two below it, and itself."""
  return [2**power for power in range((largest - 1).bit_length())] + [largest]
