"""How far two programs that compute the same may be apart in float32, on any processor."""

import numpy as np


def rounding(summed: int) -> float:
  """Of two sums of so many products that are added in other orders, relative to their size.

  Each addition rounds by at most half a unit in the last place, and errors of independent sign grow
  as the square root of their number (Higham, Accuracy and Stability of Numerical Algorithms, 2002,
  section 2.8); both sums have theirs.
  """
  return 2 * np.sqrt(summed) * float(np.finfo(np.float32).eps)


# Of a gradient of `tiny_config`'s networks: a batch of 64 images of 8x8 places. Steps add gradients
# up to something of the parameters' own size, so theirs are as far apart.
OF_TINY_STEPS = rounding(64 * 8 * 8)  # 1.5e-5
