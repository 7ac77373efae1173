"""Shared memory is looked at before worker processes start; what happens later is one line too."""

import errno
import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from meanet_jax.config.grid import GridConfig
from meanet_jax.config.schema import Config
from meanet_jax.data import streaming
from meanet_jax.data.decode import PixelReader
from meanet_jax.data.shared_memory import (
  check_shared_memory,
  lost_workers_in_one_line,
  needed_bytes,
)
from meanet_jax.data.splits import ArraySplit, Dataset
from meanet_jax.data.streaming import StreamedSplit
from meanet_jax.data.tfds.names import SetName
from meanet_jax.data.tfds.prepared import PreparedExamples, PreparedSet
from meanet_jax.errors import UserError
from meanet_jax.grid.compilation_groups import compilation_groups
from meanet_jax.grid.points import expand
from meanet_jax.grid.run import check_workers_together
from meanet_jax.images.preprocessing import CENTRE
from meanet_jax.runs.disk import full_disk_in_one_line
from meanet_jax.training.start import check_images

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="shared memory has another place")
DOCKER = 64 << 20
IMAGENET = 128 * 224 * 224 * 3  # bytes of a batch


def with_shared_memory(monkeypatch: pytest.MonkeyPatch, size: int, free: int | None = None) -> None:
  free = size if free is None else free
  found = SimpleNamespace(f_frsize=4096, f_blocks=size // 4096, f_bavail=free // 4096)
  monkeypatch.setattr(os, "statvfs", lambda path: found)  # noqa: ARG005


def streamed(images: int, workers: int, shape: tuple[int, ...] = (224, 224, 3)) -> StreamedSplit:
  labels = np.arange(images, dtype=np.int32) % 2
  found = PreparedSet(SetName("s", None, None), None, "i", "l", None, ("a", "b"), (None, None, 3))
  reader = PixelReader(shape, (None, None), CENTRE)
  return StreamedSplit(
    PreparedExamples(found, "train", None), np.arange(images), labels, reader, workers
  )


def test_what_workers_hold_was_measured():
  # Seen with batches of 1,000,000 bytes: 8.18, 14.32, 20.46 and 38.91 MB, the consumer holding two.
  for workers, peak in ((1, 8.18e6), (2, 14.32e6), (3, 20.46e6), (6, 38.91e6)):
    assert peak < needed_bytes(10**6, 200, workers) < peak + 3e6
  assert needed_bytes(10**6, 2, 6) < 4e6  # no more than there are
  assert needed_bytes(10**6, 200, 0) == 0


def test_too_little_is_refused_in_one_line_that_says_what_to_do(monkeypatch):
  with_shared_memory(monkeypatch, DOCKER)
  with pytest.raises(UserError) as caught:
    check_shared_memory(needed_bytes(IMAGENET, 10_000, 2), 2)
  assert str(caught.value) == (
    "/dev/shm (shared memory) has 67 MB, of which 67 are free, and 2 worker processes need 290 MB "
    "there for the batches that they make; accepted: a larger one (docker run --shm-size=363m), "
    "fewer workers, or --workers=0"
  )
  check_shared_memory(needed_bytes(IMAGENET, 10_000, 0), 0)
  with_shared_memory(monkeypatch, 10 * DOCKER)
  check_shared_memory(needed_bytes(IMAGENET, 10_000, 2), 2)
  with_shared_memory(monkeypatch, 10 * DOCKER, free=DOCKER)
  with pytest.raises(UserError, match="has 671 MB, of which 67 are free"):
    check_shared_memory(needed_bytes(IMAGENET, 10_000, 2), 2)


def test_a_place_that_is_missing_has_no_room(tmp_path):
  with pytest.raises(UserError, match="has 0 MB, of which 0 are free"):
    check_shared_memory(1, 1, tmp_path / "none")


@pytest.mark.parametrize("part", ["training", "evaluation"])
def test_a_stream_looks_before_its_workers_start(monkeypatch, part):
  def never(*_):
    raise AssertionError("workers were about to start")

  monkeypatch.setattr(streaming.grain, "MultiprocessingOptions", never)
  with_shared_memory(monkeypatch, DOCKER)
  split = streamed(1000, workers=2)
  batches = (
    split.batches(128)
    if part == "evaluation"
    else streaming.stream(lambda _: None, 100, 2, batch_bytes=IMAGENET)
  )
  with pytest.raises(UserError, match="2 worker processes need"):
    next(iter(batches))


def test_every_stage_is_looked_at_before_the_first(monkeypatch):
  """With its validation, whose stream is open beside its own."""
  shape = (32, 32, 3)
  train, validation = streamed(4000, 2, shape), streamed(2560, 2, shape)
  config = Config()
  monkeypatch.setattr("meanet_jax.training.start.check_hard_classes", lambda *_: [])
  one = needed_bytes(128 * 32 * 32 * 3, 31, 2)
  other = needed_bytes(128 * 32 * 32 * 3, 20, 2)
  assert one == other  # 15 batches each
  test = ArraySplit(np.zeros((1, 1, 1, 1), np.uint8), np.zeros(1, np.int32))
  dataset = Dataset("s", ("a", "b"), train, validation, test)
  with_shared_memory(monkeypatch, one + other + 4096)
  assert check_images(config, dataset) == []
  with_shared_memory(monkeypatch, one + other - 4096)
  with pytest.raises(UserError, match="shared memory"):
    check_images(config, dataset)


def test_a_grid_is_looked_at_with_a_batch_of_each_seed(monkeypatch):
  shape = (32, 32, 3)
  train, validation = streamed(4000, 2, shape), streamed(2560, 2, shape)
  test = ArraySplit(np.zeros((1, 1, 1, 1), np.uint8), np.zeros(1, np.int32))
  dataset = Dataset("s", ("a", "b"), train, validation, test)
  axes = ("seed=0,1,2", "stages.main.learning_rate=0.1,0.2")
  groups = compilation_groups(expand(axes, Config(), 6))
  batch = 128 * 32 * 32 * 3
  three, one, other = (needed_bytes(size, 20, 2) for size in (3 * batch, batch, batch))
  for needed, per_device in ((three + other, 0), (one + other, 1), (one + other, 2)):
    grid = GridConfig(per_device=per_device)
    with_shared_memory(monkeypatch, needed + 4096)
    check_workers_together(groups, dataset, grid)
    with_shared_memory(monkeypatch, needed - 4096)
    with pytest.raises(UserError, match="shared memory"):
      check_workers_together(groups, dataset, grid)


def test_a_lost_worker_is_one_line_and_no_error_of_the_runs_disk(tmp_path):
  text = "Worker process was terminated unexpectedly with exit code {}. Search the logs above"
  cases = [
    (RuntimeError(text.format(-7)), "was ended by SIGBUS: /dev/shm (shared memory) is full; "),
    (RuntimeError(text.format(-9)), "a worker process that decodes images was ended by SIGKILL; "),
    (OSError(errno.ENOSPC, "No space left on device"), "/dev/shm (shared memory) is full; "),
  ]
  for error, words in cases:
    with pytest.raises(UserError) as caught, full_disk_in_one_line(tmp_path):  # noqa: SIM117
      with lost_workers_in_one_line(4):
        raise error
    assert words in str(caught.value)
    assert "or --workers=0" in str(caught.value)
    assert "disk" not in str(caught.value)
  for defect in (RuntimeError(text.format(1)), OSError(errno.EIO, "I/O error"), ValueError("x")):
    with pytest.raises(type(defect)) as caught, lost_workers_in_one_line(4):
      raise defect
    assert caught.value is defect
