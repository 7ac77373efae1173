import jax
import jax.numpy as jnp
import numpy as np

from meanet_jax.runs.checkpoints import finished_step, open_checkpoints


def tree(value: int):
  return {
    "step": jnp.asarray(value, jnp.int32),
    "params": {"a": jnp.full((3, 2), value + 0.1, jnp.float32)},
    "opt_state": (jnp.arange(value, value + 4), ()),
  }


def test_what_was_saved_comes_back_bit_for_bit_and_the_newest_stay(tmp_path):
  path = tmp_path / "main"
  assert finished_step(path) is None
  with open_checkpoints(path, keep=2) as checkpoints:
    assert checkpoints.latest_step() is None
    for step in (5, 10, 15):
      checkpoints.save(step, tree(step))
  assert sorted(p.name for p in path.iterdir()) == ["10", "15"]
  assert finished_step(path) == 15
  with open_checkpoints(path, keep=2) as checkpoints:
    like = jax.eval_shape(lambda: tree(0))
    restored = checkpoints.restore(10, like)
  assert jax.tree.structure(restored) == jax.tree.structure(tree(10))
  for ours, theirs in zip(*map(jax.tree.leaves, (restored, tree(10))), strict=True):
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


def test_an_unfinished_checkpoint_does_not_count(tmp_path):
  path = tmp_path / "main"
  with open_checkpoints(path, keep=2) as checkpoints:
    checkpoints.save(5, tree(5))
  (path / "10.orbax-checkpoint-tmp").mkdir()
  assert finished_step(path) == 5
