import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meanet_jax.runs.checkpoints import (
  CHECKSUMS,
  finished_step,
  open_checkpoints,
  read_arrays,
  set_damaged_aside,
  whole_step,
)


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


def two_checkpoints(path):
  with open_checkpoints(path, keep=2) as checkpoints:
    for step in (5, 10):
      checkpoints.save(step, tree(step))


def largest(checkpoint):
  files = [file for file in (checkpoint / "default").rglob("*") if file.is_file()]
  return max(files, key=lambda file: file.stat().st_size)


def flip(file):
  content = bytearray(file.read_bytes())
  content[len(content) // 2] ^= 1
  file.write_bytes(bytes(content))


def truncate(file):
  file.write_bytes(file.read_bytes()[:-1])


@pytest.mark.parametrize(
  ("damage", "words"),
  [
    (flip, "is not what was written"),
    (truncate, "is not what was written"),
    (lambda file: file.unlink(), "is missing"),
  ],
  ids=["flipped byte", "truncated", "missing"],
)
@pytest.mark.parametrize("which", ["every file", "checksums"])
def test_a_damaged_newest_checkpoint_is_said_and_passed_over(tmp_path, damage, words, which):
  two_checkpoints(tmp_path / "whole")
  here = tmp_path / "whole" / "10"
  names = [file.relative_to(here) for file in here.glob("*/**/*") if file.is_file()]
  assert len(names) > 5
  if which == "checksums":
    names = [(here / CHECKSUMS).relative_to(here)]
  for number, name in enumerate(names):
    path = tmp_path / str(number)
    shutil.copytree(tmp_path / "whole", path)
    damage(path / "10" / name)
    said = []
    assert whole_step(path, said.append) == 5, name
    (line,) = said
    assert line.startswith(f"checkpoint {path / '10'} is damaged (")
    assert line.endswith("); the one before it is used")
    if which == "every file":
      assert f"{name} {words}" in line
    assert finished_step(path) == 10  # looked at only


def test_a_step_that_was_damaged_can_be_saved_again(tmp_path):
  path, said = tmp_path / "main", []
  two_checkpoints(path)
  flip(largest(path / "10"))
  set_damaged_aside(path, said.append)
  assert len(said) == 1
  assert finished_step(path) == 5
  with open_checkpoints(path, keep=2) as checkpoints:
    assert checkpoints.latest_step() == 5
    checkpoints.save(10, tree(10))
  assert whole_step(path, said.append) == 10
  assert len(said) == 1
  flip(largest(path / "10"))
  set_damaged_aside(path, said.append)
  assert sorted(p.name for p in path.iterdir()) == ["10.damaged", "5"]
  flip(largest(path / "5"))
  set_damaged_aside(path, said.append)
  assert finished_step(path) is None


@pytest.mark.parametrize("keep_best", [False, True])
def test_the_newest_and_the_best_stay_and_the_newest_is_gone_on_from(tmp_path, keep_best):
  path = tmp_path / "main"
  with open_checkpoints(path, 2, keep_best) as checkpoints:
    for step, accuracy in ((1, 0.5), (2, 0.9), (3, 0.7)):
      checkpoints.save(step, tree(step), accuracy)
  # Another process goes on: it knows the best from the disk.
  with open_checkpoints(path, 2, keep_best) as checkpoints:
    assert checkpoints.latest_step() == 3
    for step, accuracy in ((4, 0.8), (5, None), (6, 0.1)):
      checkpoints.save(step, tree(step), accuracy)
    assert checkpoints.latest_step() == 6
  kept = sorted(int(p.name) for p in path.iterdir())
  assert kept == ([2, 5, 6] if keep_best else [5, 6])
  for step in kept:
    np.testing.assert_array_equal(read_arrays(path / str(step))["['step']"], step)
