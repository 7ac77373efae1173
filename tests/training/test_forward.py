import jax
import numpy as np
import pytest

from meanet_jax.data.splits import ArraySplit
from meanet_jax.models.meanet import BLOCKS, Exits
from meanet_jax.models.variables import init_variables
from meanet_jax.models.zoo import build
from meanet_jax.training.forward import ForwardPass
from meanet_jax.training.parallel import replicate
from meanet_jax.training.steps import make_forward


@pytest.mark.parametrize(("size", "batch_size"), [(8, 8), (31, 7)])
def test_padded_batches_give_every_image_its_own_logits(tiny, size, batch_size):
  model = build(tiny)
  variables = init_variables(model, 0, tiny.dataset.image_shape, BLOCKS)
  images = np.random.default_rng(0).integers(256, size=(size, 8, 8, 1)).astype(np.uint8)
  split = ArraySplit(images, np.zeros(size, np.int32))
  result = ForwardPass(model, Exits.ALL, tiny.dataset, batch_size)(replicate(variables), split)
  forward = jax.jit(make_forward(model, Exits.ALL, tiny.dataset))
  for index in range(size):
    alone = forward(variables, images[index : index + 1])
    for ours, theirs in zip(result, alone, strict=True):
      np.testing.assert_allclose(ours[index], theirs[0], rtol=1e-4, atol=1e-5)
  assert len(result.main) == len(result.extension) == len(result.cloud) == size
