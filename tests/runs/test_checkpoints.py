import errno
import json
import os
import shutil
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meanet_jax.errors import UserError
from meanet_jax.runs import checkpoints as module
from meanet_jax.runs.checkpoints import (
  complete_step,
  finished_step,
  open_checkpoints,
  quarantine_failed,
  read_arrays,
)
from meanet_jax.runs.manifest import MANIFEST


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


def two_checkpoints(path, keep_best=False):
  with open_checkpoints(path, 2, keep_best) as checkpoints:
    for step in (5, 10):
      checkpoints.save(step, tree(step), step / 10)


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
  ("change", "words"),
  [
    (flip, "is not what was written"),
    (truncate, "is not what was written"),
    (lambda file: file.unlink(), "is missing"),
  ],
  ids=["flipped byte", "truncated", "missing"],
)
@pytest.mark.parametrize("which", ["every file", "manifest"])
def test_a_newest_checkpoint_that_fails_verification_is_skipped(
  tmp_path, printed, change, words, which
):
  two_checkpoints(tmp_path / "complete", keep_best=True)
  here = tmp_path / "complete" / "10"
  files = [file for file in here.rglob("*") if file.is_file() and file.name != MANIFEST]
  names = [file.relative_to(here) for file in files]
  assert {str(name) for name in names} > {"_CHECKPOINT_METADATA", "metrics/metrics"}
  assert {str(name) for name in names} == set(json.loads((here / MANIFEST).read_text()))
  if which == "manifest":
    names = [(here / MANIFEST).relative_to(here)]
  for number, name in enumerate(names):
    path = tmp_path / str(number)
    shutil.copytree(tmp_path / "complete", path)
    change(path / "10" / name)
    assert complete_step(path) == 5, name
    _, _, line = " ".join(printed().split()).rpartition("checkpoint ")  # the console wraps it
    assert line.startswith(f"{path / '10'} failed verification (")
    assert line.endswith("); step 5 is used instead")
    if which == "every file":
      assert f"{name} {words}" in line
    assert finished_step(path) == 10  # looked at only


def test_where_no_earlier_one_is_complete_none_is_said_to_be_used(tmp_path, printed):
  path = tmp_path / "main"
  two_checkpoints(path)
  for step in (5, 10):
    flip(largest(path / str(step)))
  assert complete_step(path) is None
  lines = printed().splitlines()
  assert len(lines) == 2
  assert all(line.endswith("); no earlier one is complete") for line in lines)
  shutil.rmtree(path / "5")
  assert complete_step(path) is None
  assert printed().splitlines()[2:] == lines[:1]


@pytest.mark.parametrize("change", [flip, truncate, lambda file: file.write_text("[1]")])
def test_an_older_checkpoint_whose_accuracy_fails_verification_is_quarantined(
  tmp_path, printed, change
):
  path = tmp_path / "main"
  two_checkpoints(path, keep_best=True)
  change(path / "5" / "metrics" / "metrics")
  quarantine_failed(path)
  line = (
    f"checkpoint {path / '5'} failed verification (metrics/metrics is not what was written); "
    "quarantined\n"
  )
  assert printed() == line
  with open_checkpoints(path, 2, keep_best=True) as checkpoints:
    assert checkpoints.latest_step() == 10
    for step, accuracy in ((15, 0.3), (20, 0.2)):
      checkpoints.save(step, tree(step), accuracy)
  assert sorted(p.name for p in path.iterdir()) == ["10", "15", "20", "5.quarantined"]
  quarantine_failed(path)
  assert printed() == line


def test_of_an_older_checkpoint_the_arrays_are_not_read(tmp_path, printed):
  path = tmp_path / "main"
  two_checkpoints(path, keep_best=True)
  (path / "5" / "default" / "manifest.ocdbt").unlink()
  quarantine_failed(path)
  assert not printed()
  assert finished_step(path) == 10


def again_and_again(call):
  for _ in range(3000):
    call()
    time.sleep(0.01)


def full_disk(checkpoint):
  raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_checkpoint_that_could_not_be_written_is_known_before_the_next(
  tmp_path, monkeypatch, printed
):
  path = tmp_path / "main"
  with open_checkpoints(path, keep=2) as checkpoints:
    checkpoints.save(5, tree(5))
    assert checkpoints.latest_step() == 5
    monkeypatch.setattr(module, "write_manifest", full_disk)
    checkpoints.save(10, tree(10))
    with pytest.raises(OSError, match="No space left"):
      again_and_again(checkpoints.check)
    checkpoints.check()  # said once
    assert checkpoints.latest_step() == 5
    checkpoints.save(15, tree(15))
    with pytest.raises(OSError, match="No space left"):
      checkpoints.latest_step()
  assert [p.name for p in path.iterdir()] == ["5"]
  assert complete_step(path) == 5
  assert not printed()


def test_writers_that_go_on_after_one_has_failed_leave_nothing(tmp_path, monkeypatch):
  path, remove, still = tmp_path / "main", shutil.rmtree, iter(range(2))

  def rmtree(directory, **options):
    remove(directory, **options)
    if next(still, None) is not None:
      (directory / "default").mkdir(parents=True)  # as TensorStore does

  monkeypatch.setattr(module, "write_manifest", full_disk)
  monkeypatch.setattr(module.shutil, "rmtree", rmtree)
  with pytest.raises(OSError, match="No space left"), open_checkpoints(path, 2) as checkpoints:
    checkpoints.save(5, tree(5))
  assert next(still, None) is None
  assert not list(path.iterdir())


def test_what_a_killed_process_was_writing_is_removed(tmp_path, printed):
  path = tmp_path / "main"
  two_checkpoints(path)
  (path / "17.orbax-checkpoint-tmp" / "default").mkdir(parents=True)
  quarantine_failed(path)
  assert not printed()
  assert sorted(p.name for p in path.iterdir()) == ["10", "5"]


@pytest.mark.parametrize("place", ["checkpoints", "checkpoints/main"])
def test_a_file_in_the_way_is_refused(tmp_path, place):
  (tmp_path / place).parent.mkdir(exist_ok=True)
  (tmp_path / place).write_text("")
  message = r"^checkpoints .*main cannot be written: (File exists|Not a directory); accepted: a dir"
  with (
    pytest.raises(UserError, match=message),
    open_checkpoints(tmp_path / "checkpoints" / "main", 2),
  ):
    pass


def test_a_step_that_failed_verification_can_be_saved_again(tmp_path, printed):
  path = tmp_path / "main"
  two_checkpoints(path)
  flip(largest(path / "10"))
  quarantine_failed(path)
  assert printed().count("\n") == 1
  assert finished_step(path) == 5
  with open_checkpoints(path, keep=2) as checkpoints:
    assert checkpoints.latest_step() == 5
    checkpoints.save(10, tree(10))
  assert complete_step(path) == 10
  assert printed().count("\n") == 1
  flip(largest(path / "10"))
  quarantine_failed(path)
  assert sorted(p.name for p in path.iterdir()) == ["10.quarantined", "5"]
  flip(largest(path / "5"))
  quarantine_failed(path)
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
