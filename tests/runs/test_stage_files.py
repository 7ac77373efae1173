import errno
import os
import time

import numpy as np
import pytest

from meanet_jax.config.schema import LoggingConfig
from meanet_jax.runs import checkpoints
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.runs.stage_files import FilesOnDisk


def full_disk(checkpoint):
  raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def write_lines(files):
  for step in range(2, 3000):
    files.metrics(step, step / 10, {"loss": 1.0})
    time.sleep(0.01)


def test_a_line_of_metrics_raises_the_error_of_a_checkpoint_that_could_not_be_written(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(checkpoints, "write_manifest", full_disk)
  run = RunDirectory(tmp_path)
  files = FilesOnDisk(run, "main", LoggingConfig(), tensorboard=False)
  assert files.begin({"step": np.zeros((), np.int32)}) == (0, None)
  files.save(1, {"step": np.ones((), np.int32)}, 0.5)
  with pytest.raises(OSError, match="No space left"):
    write_lines(files)
  files.close()
  assert not list(run.checkpoints_path("main").iterdir())
