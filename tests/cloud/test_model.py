"""A run's cloud, read without its data set, and its compiled batch sizes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from meanet_jax.cloud.model import CloudModel, batch_sizes, read_run
from meanet_jax.errors import UserError
from meanet_jax.runs.directory import RunDirectory


def test_batch_sizes():
  assert batch_sizes(1, 1) == [1]
  assert batch_sizes(32, 1) == [1, 2, 4, 8, 16, 32]
  assert batch_sizes(5, 1) == [1, 2, 4, 5]
  assert batch_sizes(5, 4) == [4, 8]
  assert batch_sizes(1, 8) == [8]
  assert batch_sizes(48, 8) == [8, 16, 32, 48]


@pytest.fixture
def copy(finished_run: RunDirectory, tmp_path: Path) -> Path:
  """What a machine that serves has of a run."""
  run = tmp_path / "run"
  shutil.copytree(finished_run.checkpoints_path("cloud"), run / "checkpoints/cloud")
  for path in (
    finished_run.config_path,
    finished_run.environment_path,
    finished_run.data_path,
  ):
    shutil.copy(path, run)
  return run


def test_any_number_of_images_gets_the_outputs_of_a_single_one(copy):
  run = read_run(copy)
  assert run.class_names == tuple(map(str, range(10)))
  model = CloudModel(run, 5)
  assert model.sizes == [1, 2, 4, 5]
  images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1)).astype(np.uint8)
  single = np.concatenate([model(images[row : row + 1])["logits"] for row in range(5)])
  probabilities = np.exp(single) / np.exp(single).sum(axis=1, keepdims=True)
  for count in range(1, 6):
    outputs = model(images[:count])
    np.testing.assert_allclose(outputs["logits"], single[:count], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(outputs["class"], single[:count].argmax(axis=1))
    np.testing.assert_allclose(outputs["probability"], probabilities[:count].max(axis=1), rtol=1e-5)


def test_runs_that_cannot_be_served(copy):
  def refusal() -> str:
    with pytest.raises(UserError) as caught:
      read_run(copy)
    return str(caught.value)

  data = json.loads((copy / "data.json").read_text())
  for size in (1000, 64):  # images that would have taken more steps, and fewer
    splits = data["splits"] | {"train": {"num_examples": size}}
    (copy / "data.json").write_text(json.dumps(data | {"splits": splits}))
    assert "has not finished stage cloud" in refusal()
  for wrong, words in (
    ({"class_names": data["class_names"]}, "no number splits.train.num_examples"),
    (data | {"splits": {"train": {"num_examples": "many"}}}, "no number splits.train"),
    (data | {"class_names": "0123456789"}, "has no list class_names"),
    (data | {"class_names": ["a"]}, "1 entries in class_names; accepted: the names of config.json"),
    (data | {"class_names": list(range(10))}, "10 entries in class_names"),
    ([data], "has no list class_names"),
  ):
    (copy / "data.json").write_text(json.dumps(wrong))
    assert words in refusal()
  del data["class_names"]
  (copy / "data.json").write_text(json.dumps(data))
  assert "has no list class_names" in refusal()
  (copy / "data.json").unlink()
  assert "has not begun training" in refusal()
  (copy / "environment.json").unlink()
  assert "environment.json has no format" in refusal()
  (copy / "config.json").unlink()
  assert "holds no run" in refusal()


def test_an_unfinished_cloud_and_a_corrupt_one(said, copy):
  (step,) = [path for path in (copy / "checkpoints/cloud").iterdir() if path.name == "22"]
  largest = max((step / "default").rglob("*"), key=lambda path: path.stat().st_size)
  data = bytearray(largest.read_bytes())
  data[len(data) // 2] ^= 1
  largest.write_bytes(data)
  with pytest.raises(UserError, match="has not finished stage cloud"):
    read_run(copy)
  assert "failed verification" in said[0]
  shutil.rmtree(copy / "checkpoints")
  with pytest.raises(UserError, match="has not finished stage cloud"):
    read_run(copy)
