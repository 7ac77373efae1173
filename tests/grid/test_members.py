"""Members against the same points trained alone, by the ordinary train()."""

import dataclasses
import io
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from rich.console import Console

from meanet_jax.config import GridConfig
from meanet_jax.console import Reporter
from meanet_jax.data.sources import load
from meanet_jax.grid.loop import train_members
from meanet_jax.grid.members import Member
from meanet_jax.grid.points import expand
from meanet_jax.models.variables import init_variables
from meanet_jax.models.zoo import build
from meanet_jax.runs.checkpoints import finished_step, read_arrays
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.training.pipeline import train
from meanet_jax.training.stages import MAIN

STAGES = ("main", "edge", "cloud")


def arrays(run: Path, stage: str) -> dict[str, np.ndarray]:
  path = run / "checkpoints" / stage
  return read_arrays(path / str(finished_step(path)))


def difference(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> float:
  """The largest distance of two checkpoints' tensors, relative to the tensor's own norm."""
  assert ours.keys() == theirs.keys()
  assert {name: (x.shape, x.dtype) for name, x in ours.items()} == {
    name: (x.shape, x.dtype) for name, x in theirs.items()
  }
  learned = [name for name in ours if "params" in name or "batch_stats" in name]
  assert len(learned) > 10
  return max(
    float(np.linalg.norm(ours[name] - theirs[name]) / max(np.linalg.norm(theirs[name]), 1e-3))
    for name in learned
  )


@pytest.fixture(scope="module")
def alone(tiny, axes, tmp_path_factory, finished_run) -> list[Path]:
  """The grid's first two points, trained by themselves."""
  other = expand(axes, tiny, 10)[1].config
  path = tmp_path_factory.mktemp("alone")
  with jax.numpy_dtype_promotion("standard"):
    train(other, path, Reporter(Console(file=io.StringIO())))
  return [finished_run.path, path]


@pytest.mark.parametrize("point", [0, 1])
def test_unrolled_members_equal_points_trained_alone(trained, alone, point):
  run = trained / "points" / f"{point:03d}"
  for stage in STAGES:
    ours, theirs = arrays(run, stage), arrays(alone[point], stage)
    assert ours["['step']"] == theirs["['step']"] >= 10
    assert difference(ours, theirs) < 1e-6, stage
  for name in ("config.json", "data.json", "hard_classes.json"):
    ours, theirs = (json.loads((path / name).read_text()) for path in (run, alone[point]))
    assert ours == theirs
  ours, theirs = (
    [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    for path in (run, alone[point])
  )
  assert [line.keys() for line in ours] == [line.keys() for line in theirs]
  for one, other in zip(ours, theirs, strict=True):
    for key, value in other.items():
      assert one[key] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-4))


def test_vmapped_members_of_every_number_equal_points_trained_alone(tiny, reporter, tmp_path):
  """Two members of one seed, which share their batches, and one of another; with averages."""
  stages = dataclasses.replace(
    tiny.stages, main=dataclasses.replace(tiny.stages.main, ema_decay=0.9)
  )
  config = dataclasses.replace(tiny, stages=stages)
  axes = (
    "{seed=0, stages.main.momentum=0.7},"
    "{seed=0, stages.main.ema_decay=0.5, stages.main.label_smoothing=0.2},"
    "{seed=1, model.main.dropout=0.3, stages.main.weight_decay=0.01,"
    " stages.main.learning_rate=0.02}",
  )
  dataset, model = load(config.dataset), build(config)
  found = {}
  for batching in ("vmap", "unroll"):
    members = []
    for point in expand(axes, config, 10):
      run = RunDirectory.create(tmp_path / batching / point.name, point.config)
      variables = init_variables(model, point.config.seed, config.dataset.image_shape, ("main",))
      members.append(Member(point, run, variables))
    grid = GridConfig(batching=batching)
    train_members(MAIN, members, model, dataset, grid, reporter, lambda: False)
    found[batching] = [arrays(member.run.path, "main") for member in members]
  for vmapped, unrolled in zip(found["vmap"], found["unroll"], strict=True):
    assert any("average" in name for name in vmapped)
    assert difference(vmapped, unrolled) < 1e-5


def test_a_member_that_diverges_is_marked_and_the_others_go_on(trained, said):
  lost = trained / "points" / "002"
  marked = json.loads((lost / "diverged.json").read_text())
  assert marked["stage"] == "main"
  assert marked["step"] < 5
  assert not (lost / "checkpoints" / "edge").exists()
  assert not (lost / "hard_classes.json").exists()
  assert "point 002 diverged" in said.getvalue()
  for point in ("000", "001"):
    assert (trained / "points" / point / "validation.json").exists()
