"""Members against the same points trained alone, by the ordinary train()."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest

from meanet_jax.config.grid import GridConfig
from meanet_jax.config.schema import Config
from meanet_jax.data.sources import load
from meanet_jax.files import write_json
from meanet_jax.grid.points import Point, expand
from meanet_jax.grid.run import plan
from meanet_jax.grid.run_stage import train_trials
from meanet_jax.grid.trials import Trial
from meanet_jax.models.meanet import BLOCKS, Exits
from meanet_jax.models.variables import init_variables
from meanet_jax.models.zoo import build
from meanet_jax.runs.checkpoints import finished_step, read_arrays
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.training.context import RunContext
from meanet_jax.training.parallel import AXIS
from meanet_jax.training.restore import Learned, read_label_map
from meanet_jax.training.run_stage import train_stage
from meanet_jax.training.stage_images import stage_images
from meanet_jax.training.stages import JOINT, MAIN
from tests.rounding import OF_TINY_STEPS

STAGES = ("main", "edge", "cloud")


def arrays(run: Path, stage: str) -> dict[str, np.ndarray]:
  path = run / "checkpoints" / stage
  return read_arrays(path / str(finished_step(path)))


def assert_close(
  ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], what: object = ""
) -> None:
  """Two checkpoints' parameters, each tensor relative to its own norm.

  Running means of batch norm lie near 0, which makes the same rounding more of them: three times.
  """
  assert ours.keys() == theirs.keys()
  assert {name: (x.shape, x.dtype) for name, x in ours.items()} == {
    name: (x.shape, x.dtype) for name, x in theirs.items()
  }
  learned = [name for name in ours if "params" in name or "batch_stats" in name]
  assert len(learned) > 10
  for name in learned:
    norm = max(np.linalg.norm(theirs[name]), 1e-3)
    accepted = OF_TINY_STEPS if "params" in name else 3 * OF_TINY_STEPS
    assert np.linalg.norm(ours[name] - theirs[name]) / norm < accepted, (what, name)


def trained_alone(stage, config, dataset, blocks, run: RunDirectory) -> Path:
  """The run after a stage of it alone, by the ordinary loop."""
  variables = jax.device_get(
    init_variables(build(config), config.seed, config.dataset.image_shape, blocks)
  )
  context = RunContext(config, build(config, AXIS), dataset, run)
  images = stage_images(stage, dataset, read_label_map(stage, config, run))
  train_stage(stage, context, variables, images)
  return run.path


@pytest.mark.parametrize("point", [0, 1])
def test_unrolled_members_equal_points_trained_alone(trained, alone, point):
  run = trained / "points" / f"{point:03d}"
  for stage in STAGES:
    ours, theirs = arrays(run, stage), arrays(alone[point], stage)
    assert ours["['step']"] == theirs["['step']"] >= 10
    assert_close(ours, theirs, stage)
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


@pytest.fixture(scope="module")
def every_number(tiny) -> Config:
  """With averages, and one epoch."""
  main = dataclasses.replace(tiny.stages.main, ema_decay=0.9, epochs=1)
  return dataclasses.replace(tiny, stages=dataclasses.replace(tiny.stages, main=main))


@pytest.fixture(scope="module")
def every_number_alone(every_number, tmp_path_factory) -> dict[str, dict[str, np.ndarray]]:
  """What the stage main of each of the points has learned alone, by the point's name."""
  dataset, path = load(every_number.dataset), tmp_path_factory.mktemp("every_number")
  found = {}
  for point in expand(EVERY_NUMBER, every_number, 10):
    run = RunDirectory.create(path / point.name, point.config)
    with jax.numpy_dtype_promotion("standard"):
      trained_alone(MAIN, point.config, dataset, ("main",), run)
    found[point.name] = arrays(run.path, "main")
  return found


def test_a_stage_that_was_finished_before_takes_the_place_of_what_came_before_it(tiny, tmp_path):
  """Where a damaged stage main was trained anew, and the joint one is still there."""
  on_disk = {(): {"main": {"after": 0}}, (MAIN, JOINT): {"main": {"after": 2}}}
  run = RunDirectory.create(tmp_path, tiny)
  context = RunContext(tiny, build(tiny), load(tiny.dataset), run)
  trial = Trial(Point(0, {}, tiny), context, Learned(lambda stages: on_disk[tuple(stages)]))
  assert trial.learned()["main"] == {"after": 0}
  trial.learned.update(MAIN, {"main": {"after": 1}})
  trial.logits[Exits.MAIN] = np.zeros((1, 10), np.float32)
  assert trial.learned()["main"] == {"after": 1}
  trial.pass_finished(JOINT)
  assert trial.learned()["main"] == {"after": 2}
  assert not trial.logits


# Two members of one seed, which share their batches, and one of another.
EVERY_NUMBER = (
  "{seed=0, stages.main.momentum=0.7},"
  "{seed=0, stages.main.ema_decay=0.5, stages.main.label_smoothing=0.2},"
  "{seed=1, model.main.dropout=0.3, stages.main.weight_decay=0.01,"
  " stages.main.learning_rate=0.02}",
)


@pytest.mark.parametrize("batching", ["vmap", "unroll"])
def test_members_of_every_number_equal_points_trained_alone(
  every_number, every_number_alone, tmp_path, batching
):
  config = every_number
  dataset, model, trials = load(config.dataset), build(config), []
  for point in expand(EVERY_NUMBER, config, 10):
    run = RunDirectory.create(tmp_path / point.name, point.config)
    variables = init_variables(model, point.config.seed, config.dataset.image_shape, ("main",))
    context = RunContext(point.config, model, dataset, run)
    trials.append(Trial(point, context, Learned(lambda _, found=variables: found)))
  grid = GridConfig(batching=batching)
  train_trials(MAIN, trials, grid)
  for trial in trials:
    ours = arrays(trial.context.run.path, "main")
    assert any("average" in array for array in ours)
    assert_close(ours, every_number_alone[trial.point.name], trial.point.name)


class Joint(NamedTuple):
  """Two points of a joint stage, their hard classes, and what the second has learned alone.

  Weights below 1: larger ones are a larger learning rate, under which rounding grows as well.
  """

  points: Sequence[Point]
  hard_classes: tuple[list[int], list[int]]
  alone: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def joint(tiny, tmp_path_factory) -> Joint:
  edge = dataclasses.replace(tiny.stages.edge, epochs=1)
  config = dataclasses.replace(
    tiny, stages=dataclasses.replace(tiny.stages, edge=edge, training="joint")
  )
  axes = ("{seed=0}, {seed=1, stages.edge.loss_weights=(0.5,0.8)}",)
  (group,) = plan(config, GridConfig(axes=axes))
  hard_classes = ([1, 2, 3, 8, 9], [0, 1, 4, 5, 7])
  weighed = group.points[1].config
  run = RunDirectory.create(tmp_path_factory.mktemp("joint") / "alone", weighed)
  write_json(run.hard_classes_path, {"classes": hard_classes[1]})
  with jax.numpy_dtype_promotion("standard"):
    stage = JOINT
    trained_alone(stage, weighed, load(config.dataset), BLOCKS, run)
  return Joint(group.points, hard_classes, arrays(run.path, "edge"))


def test_members_of_a_joint_stage_have_their_own_loss_weights(joint, tmp_path):
  """Unrolled, against the ordinary loop; two seeds, and so two label maps beside each other."""
  config = joint.points[0].config
  dataset, model, trials = load(config.dataset), build(config), []
  for point, hard in zip(joint.points, joint.hard_classes, strict=True):
    run = RunDirectory.create(tmp_path / point.name, point.config)
    write_json(run.hard_classes_path, {"classes": hard})
    variables = init_variables(model, point.config.seed, config.dataset.image_shape, BLOCKS)
    context = RunContext(point.config, model, dataset, run)
    trials.append(Trial(point, context, Learned(lambda _, found=variables: jax.device_get(found))))
  stage = JOINT
  train_trials(stage, trials, GridConfig())
  ours = arrays(trials[1].context.run.path, "edge")
  assert ours["['step']"] == joint.alone["['step']"] >= 10
  assert_close(ours, joint.alone)


def test_a_member_that_diverges_is_marked_and_the_others_go_on(trained, said):
  lost = trained / "points" / "002"
  marked = json.loads((lost / "diverged.json").read_text())
  assert marked["stage"] == "main"
  assert marked["step"] < 5
  assert not (lost / "checkpoints" / "edge").exists()
  assert not (lost / "hard_classes.json").exists()
  assert "trial 002 diverged" in said
  for point in ("000", "001"):
    assert (trained / "points" / point / "validation.json").exists()
