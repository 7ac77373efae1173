"""Where a run may lie: its checkpoints are read back from there, or the path is refused."""

import numpy as np
import pytest

from meanet_jax.errors import UserError
from meanet_jax.grid.directory import GridDirectory
from meanet_jax.runs import checkpoints as module
from meanet_jax.runs.checkpoints import (
  complete_step,
  open_checkpoints,
  read_arrays,
)
from meanet_jax.runs.directory import RunDirectory

TREE = {"a": np.arange(6, dtype=np.float32)}
LIKE = {"a": np.zeros(6, np.float32)}


def save(path, tree=TREE):
  with open_checkpoints(path, keep=2) as checkpoints:
    checkpoints.save(1, tree)


def restored(path):
  with open_checkpoints(path, keep=2) as checkpoints:
    return checkpoints.restore(1, LIKE)["a"].tolist()


@pytest.mark.parametrize(
  "name",
  [
    "lr=[0.1]",
    "stages.main.learning_rate=[0.05,0.1]",
    "{seed=0, model.join=sum}, {seed=1}",
    "[!x]",
    "a[",
    "*",
    "**",
    "a?b",
    "a%20b#c",
    " dots.. ",
    "a:b",
    "gs",
    "zwei\nZeilen",
    "größe 漢字",
    "~",
  ],
)
def test_what_was_saved_is_read_back_there_and_after_a_move(tmp_path, said, name):
  path = RunDirectory(tmp_path / name).checkpoints_path("main")
  save(path)
  assert complete_step(path) == 1
  assert not said
  assert restored(path) == TREE["a"].tolist()
  (array,) = read_arrays(path / "1").values()
  assert array.tolist() == TREE["a"].tolist()
  (tmp_path / name).rename(tmp_path / "renamed")
  assert restored(tmp_path / "renamed" / "checkpoints" / "main") == TREE["a"].tolist()
  save(tmp_path / "plain" / "main")
  (tmp_path / "plain").rename(tmp_path / name)
  assert restored(tmp_path / name / "main") == TREE["a"].tolist()


def test_a_name_that_is_a_pattern_takes_nothing_from_the_directories_that_it_matches(tmp_path):
  """Which another run may be writing at the same step."""
  other = tmp_path / "lr=0" / "main"
  save(other, {"a": np.full(6, 9, np.float32)})
  (other / "1").rename(other / "1.orbax-checkpoint-tmp")
  for name in ("lr=[01]", "lr=?", "*"):
    save(tmp_path / name / "main")
    assert restored(tmp_path / name / "main") == TREE["a"].tolist()


@pytest.mark.parametrize(
  ("path", "words"),
  [
    ("/tmp/a\\b/run", "contains a backslash, which TensorStore takes for /"),
    ("/tmp/run\\", "contains a backslash"),
    ("/tmp/gs:/bucket/run", "has a directory whose name ends in gs:, which Orbax takes for gs://"),
    ("/tmp/runs/lags:", "has a directory whose name ends in gs:"),
    ("/gs/bucket", "is in /gs, which Orbax takes for gs://"),
    ("/s3/bucket/run", "is in /s3, which Orbax takes for s3://"),
    ("/tmp/\udcff/run", "is not UTF-8, which TensorStore needs"),
  ],
)
def test_a_path_whose_checkpoints_could_not_be_read_is_refused(path, words):
  for kind in (RunDirectory, RunDirectory.existing, GridDirectory):
    with pytest.raises(UserError) as caught:
      kind(path)
    message = str(caught.value)
    assert message.startswith(f"workdir {path} {words}")
    assert message.endswith("rename it, or use another --workdir")
    assert "\n" not in message


def test_training_refuses_such_a_path_before_it_reads_data(tiny, tmp_path, monkeypatch):
  from meanet_jax.training import start
  from meanet_jax.training.train import train

  monkeypatch.setattr(start, "load", lambda *_: pytest.fail("data were read"))
  with pytest.raises(UserError, match="contains a backslash"):
    train(tiny, tmp_path / "a\\b")
  assert not list(tmp_path.iterdir())


def test_a_checkpoint_without_its_array_index_is_not_kept(tmp_path, monkeypatch):
  path = tmp_path / "main"
  monkeypatch.setattr(module._Handler, "finalize", lambda *_: None)
  checkpoints = module.StageCheckpoints(path, keep=2)
  checkpoints.save(1, TREE)
  words = r"main/1 cannot be read back \(default/manifest.ocdbt is missing\) and was not kept"
  with pytest.raises(UserError, match=words):
    checkpoints.latest_step()
  checkpoints.close()
  assert not list(path.iterdir())
