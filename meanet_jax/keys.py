"""Random keys by name."""

import jax
import numpy as np
from jaxtyping import Array, Key

from meanet_jax.seeds import name_number


def named_key(seed: int, name: str) -> Key[Array, ""]:
  """The random key of whatever `name` stands for, folded from (seed, name)."""
  return jax.random.fold_in(jax.random.key(seed), np.uint32(name_number(name)))
