import flax.linen as nn
import jax
import jax.numpy as jnp

from meanet_jax.cost.macs import count_macs


def test_known_layers():
  x = jnp.zeros((1, 8, 8, 3))
  conv = nn.Conv(16, (3, 3), strides=2, padding=[(1, 1), (1, 1)])
  variables = conv.init(jax.random.key(0), x)
  assert count_macs(conv.apply, variables, x) == 4 * 4 * 16 * 3 * 9
  grouped = nn.Conv(6, (3, 3), feature_group_count=3, padding="VALID")
  variables = grouped.init(jax.random.key(0), x)
  assert count_macs(grouped.apply, variables, x) == 6 * 6 * 6 * 1 * 9
  assert count_macs(jnp.dot, jnp.zeros((5, 7)), jnp.zeros((7, 11))) == 5 * 7 * 11


def test_inner_functions_and_repeats_are_counted_and_elementwise_work_is_not():
  weights = jnp.zeros((4, 4))

  @jax.jit
  def repeated(x):
    return jax.lax.scan(lambda c, _: (jnp.tanh(c @ weights) * 2 + 1, None), x, length=5)[0]

  assert count_macs(repeated, jnp.zeros((3, 4))) == 5 * 3 * 4 * 4
