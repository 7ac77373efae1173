"""Weights of another run as a network's first ones."""

import shutil

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from meanet_jax.config.parsing import resolve
from meanet_jax.data.sources import load
from meanet_jax.errors import UserError
from meanet_jax.models.zoo import build
from meanet_jax.runs.checkpoints import finished_step
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.training import pretrained
from meanet_jax.training.pretrained import initial_variables
from meanet_jax.training.restore import load_variables
from tests.experiments import tiny_config


def started(config: ConfigDict, *blocks: str):
  resolved = resolve(config)
  return initial_variables(resolved, build(resolved), blocks or ("main",))


def refusal(config: ConfigDict, *blocks: str) -> str:
  with pytest.raises(UserError) as caught:
    started(config, *blocks)
  assert "\n" not in str(caught.value)
  return str(caught.value)


def from_run(text: object, block: str = "main", **changes) -> ConfigDict:
  config = tiny_config()
  getattr(config.model, block).update(pretrained=str(text), **changes)
  return config


@pytest.fixture(scope="module")
def learned(finished_run, tiny):
  return load_variables(tiny, build(tiny), load(tiny.dataset), finished_run)


def assert_equal(ours, theirs) -> None:
  assert jax.tree.structure(ours) == jax.tree.structure(theirs)
  for a, b in zip(*map(jax.tree.leaves, (ours, theirs)), strict=True):
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("block", ["main", "cloud"])
def test_a_network_starts_from_the_same_block_of_another_run(finished_run, learned, block):
  assert_equal(started(from_run(finished_run.path, block), block)[block], learned[block])
  named = from_run(f"{finished_run.path}:{block}", block)
  assert_equal(started(named, block)[block], learned[block])


def test_a_main_block_can_be_another_runs_cloud(finished_run, learned):
  config = from_run(f"{finished_run.path}:cloud")
  config.model.main.structure.update(config.model.cloud.structure.to_dict())
  assert_equal(started(config)["main"], learned["cloud"])


def test_reset_head_keeps_the_trunk_and_starts_the_last_layer_afresh(finished_run, learned):
  fresh = started(tiny_config())["main"]
  found = started(from_run(finished_run.path, reset_head=True))["main"]
  assert_equal(found["params"]["head"], fresh["params"]["head"])
  assert_equal(found["params"]["trunk"], learned["main"]["params"]["trunk"])
  assert_equal(found["batch_stats"], learned["main"]["batch_stats"])


def test_reset_head_is_of_the_head_alone():
  """A trunk with fewer blocks than the weights have is another network."""
  block = {"dense": np.zeros((4, 2))}
  trunk = {"block1": block, "block2": block}
  found = {"params": {"trunk": trunk, "head": block | {"more": block}}}
  own = {"params": {"trunk": {"block1": block}, "head": block}}
  weights = pretrained._Weights("run", "main")
  with pytest.raises(UserError, match=r"has the extra 'params.trunk.block2.dense'; accepted: "):
    pretrained._fitted(found, own, own, weights, None)
  del trunk["block2"]
  assert pretrained._fitted(found, own, own, weights, None) == own


def test_an_adaptive_block_has_a_trunk_alone(finished_run, learned):
  found = started(from_run(f"{finished_run.path}:adaptive", reset_head=True))["main"]
  assert_equal(found["params"]["trunk"], learned["adaptive"]["params"])
  missing = refusal(from_run(f"{finished_run.path}:adaptive"))
  assert "misses 'params.head.dense.bias' and 1 more" in missing
  assert "reset_head=true" in missing


def test_what_does_not_fit_is_refused_in_one_line(finished_run):
  assert "has shape (8,); accepted: (4,)" in refusal(from_run(f"{finished_run.path}:cloud"))
  deeper = from_run(finished_run.path)
  deeper.model.main.structure.depths = (2,)
  assert "misses 'batch_stats.trunk.stage1_block2" in refusal(deeper)


def test_what_is_no_finished_run_is_refused(finished_run, tmp_path):
  assert "'clod' is no block of a run; did you mean 'cloud'?" in refusal(
    from_run(f"{finished_run.path}:clod")
  )
  assert "holds no run" in refusal(from_run(tmp_path))
  unfinished = RunDirectory.create(tmp_path / "begun", resolve(tiny_config()))
  unfinished.record_data(load(resolve(tiny_config()).dataset).describe())
  assert "has not finished stage main" in refusal(from_run(unfinished.path))


@pytest.mark.parametrize("block", ["adaptive", "extension"])
def test_an_edge_that_is_not_finished_is_refused(finished_run, tmp_path, block):
  """Its newest checkpoint is of an earlier step, as a stopped run leaves it."""
  shutil.copytree(finished_run.path, tmp_path / "stopped")
  run = RunDirectory.existing(tmp_path / "stopped")
  edge = run.checkpoints_path("edge")
  last = finished_step(edge)
  assert last is not None
  named = from_run(f"{run.path}:{block}", reset_head=True)
  if block == "adaptive":
    started(named)
  (edge / str(last)).rename(edge / str(last - 1))
  assert "the run has not finished stage edge; accepted: a run that has" in refusal(named)
  # As ever: what is neither is a file.
  assert "is no file" in refusal(from_run(tmp_path / "none.npz"))
