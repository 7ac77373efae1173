import csv
import dataclasses
import errno
import os
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

from meanet_jax.config.constraints import Constraints
from meanet_jax.config.grid import GridConfig
from meanet_jax.data.sources import load
from meanet_jax.errors import TrainingStoppedError, UserError
from meanet_jax.evaluation.records_file import load_records
from meanet_jax.files import read_json
from meanet_jax.grid.context import GridContext
from meanet_jax.grid.directory import GridDirectory
from meanet_jax.grid.estimate import estimate
from meanet_jax.grid.run import plan, show_grid, train_grid
from meanet_jax.grid.run_stage import train_trials
from meanet_jax.grid.train import open_trial
from meanet_jax.models.variables import init_variables
from meanet_jax.models.zoo import build
from meanet_jax.report.write import evaluate_run
from meanet_jax.runs.checkpoints import finished_step, read_arrays
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.tflite.export import Options, export
from meanet_jax.tflite.source import from_run
from meanet_jax.training.restore import Learned
from meanet_jax.training.stages import MAIN
from meanet_jax.training.train import train
from tests.experiments import TINY_FILE
from tests.forked_commands import run_command


def files(path: Path) -> dict[str, tuple[int, int]]:
  return {
    str(file.relative_to(path)): (file.stat().st_mtime_ns, file.stat().st_ino)
    for file in sorted(path.rglob("*"))
    if file.is_file()
  }


def test_tables_tell_of_every_point_and_of_the_best(trained, said):
  with (trained / "grid.csv").open() as file:
    rows = list(csv.DictReader(file))
  assert [row["status"] for row in rows] == ["finished", "finished", "diverged"]
  assert [row["seed"] for row in rows] == ["0", "1", "2"]
  assert rows[2]["meanet_validation_accuracy"] == ""
  grid = read_json(trained / "grid.json")
  assert grid["groups"] == [[0, 1, 2]]
  scores = [float(row["meanet_validation_accuracy"]) for row in rows[:2]]
  best = grid["best"]
  assert best["point"] == int(np.argmax(scores))
  assert best["validation_accuracy"] == max(scores)
  run = trained / best["workdir"]
  assert best["test"] == read_json(run / "eval" / "summary.json")["systems"]
  other = trained / "points" / f"{1 - best['point']:03d}"
  assert not (other / "eval").exists()  # test figures of the best alone
  assert (trained / "grid.png").read_bytes().startswith(b"\x89PNG")
  assert f"its best trial {best['point']:03d} on test" in said


def test_scores_on_validation_are_those_of_the_ordinary_evaluation(trained):
  """The best trial was evaluated by the code of eval.py, which writes validation records."""
  best = read_json(trained / "grid.json")["best"]
  run = trained / best["workdir"]
  records = load_records(run / "eval" / "records_validation.npz", None).records()
  scores = read_json(run / "validation.json")
  for exit in ("main", "cloud"):
    right = getattr(records, exit).prediction == records.label
    assert scores["systems"][f"{exit}_only"]["accuracy"] == np.mean(right)


def test_members_are_runs_like_any_other(trained, printed, tmp_path):
  """The best, which is evaluated, exports; train.py has nothing left to do for the other."""
  best = read_json(trained / "grid.json")["best"]
  export(from_run(trained / best["workdir"]), tmp_path, Options())
  assert (tmp_path / "edge.tflite").stat().st_size > 1000
  assert read_json(tmp_path / "edge.json")["dataset"]["name"] == "digits"
  other = tmp_path / "run"
  shutil.copytree(trained / "points" / f"{1 - best['point']:03d}", other)
  before = files(other / "checkpoints")
  train(RunDirectory.existing(other).config(), other)
  assert printed().count("already finished") == 4
  assert files(other / "checkpoints") == before


def test_a_finished_grid_is_left_alone(trained, tiny, grid, axes, tmp_path):
  copy = tmp_path / "grid"
  shutil.copytree(trained, copy)
  before = files(copy / "points")
  paths = train_grid(tiny, grid, copy)
  assert paths == [copy / "points" / name for name in ("000", "001", "002")]
  assert files(copy / "points") == before
  with pytest.raises(UserError, match=r"holds another grid, which differs in axes"):
    train_grid(tiny, GridConfig(axes=("seed=0",)), copy)
  with pytest.raises(UserError, match=r"differs in seed \(0 -> 5\)"):
    train_grid(dataclasses.replace(tiny, seed=5), GridConfig(axes=axes), copy)


def test_the_best_trials_test_figures_are_of_its_own_constraints(trained, tiny, grid, tmp_path):
  copy = tmp_path / "grid"
  shutil.copytree(trained, copy)
  expected = read_json(copy / "grid.json")["best"]
  evaluate_run(copy / expected["workdir"], Constraints(max_offload=0.01), reuse_records=True)
  train_grid(tiny, grid, copy)
  assert read_json(copy / "grid.json")["best"] == expected


def test_a_full_disk_is_one_line(trained, tiny, grid, tmp_path, monkeypatch):
  copy = tmp_path / "grid"
  shutil.copytree(trained, copy)

  def write(*_) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  monkeypatch.setattr(GridDirectory, "write", write)
  with pytest.raises(UserError, match=f"^the disk of {copy} is full"):
    train_grid(tiny, grid, copy)


def test_an_interrupted_grid_goes_on_bit_for_bit(trained, tiny, grid, tmp_path):
  """Stopped in the stage main between two lines of metrics, where one member then begins anew.

  So the two are at different steps, and the one that is done first waits without changing.
  """
  (group,) = plan(tiny, grid)
  points = group.points[:2]
  dataset, model = load(tiny.dataset), build(tiny)
  shape = tiny.dataset.image_shape

  def train_main(stop) -> None:
    context = GridContext(tmp_path, grid, stop=stop)
    trials = [open_trial(point, model, dataset, context) for point in points]
    for trial in trials:
      seed = trial.config.seed
      trial.learned = Learned(lambda _, seed=seed: init_variables(model, seed, shape, ("main",)))
    train_trials(MAIN, trials, grid)

  answers = iter([None] * 7 + [signal.SIGTERM])
  with pytest.raises(TrainingStoppedError, match="stopped by SIGTERM in stage main"):
    train_main(lambda: next(answers))
  runs = [tmp_path / "points" / point.name for point in points]
  assert [finished_step(run / "checkpoints" / "main") for run in runs] == [8, 8]
  shutil.rmtree(runs[1])
  train_main(lambda: None)
  for point in points:
    one, other = (where / "points" / point.name for where in (tmp_path, trained))
    ours, theirs = (
      read_arrays(run / "checkpoints" / "main" / str(finished_step(run / "checkpoints" / "main")))
      for run in (one, other)
    )
    np.testing.assert_equal(ours, theirs)
    ours, theirs = (
      [line for line in (run / "metrics.jsonl").read_text().splitlines() if '"main"' in line]
      for run in (one, other)
    )
    assert ours == theirs


def test_a_dry_run_tells_and_writes_nothing(tiny, printed, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  axes = ("stages.main.learning_rate=0.05,0.1", "stages.main.epochs=2,4", "seed=0,1")
  show_grid(tiny, GridConfig(axes=axes))
  said = printed()
  assert "8 trials in 2 compilation groups, batched by unroll" in said
  assert (
    "trial 003, compilation group 1: stages.main.learning_rate=0.05, stages.main.epochs=4, seed=1"
  ) in said
  assert said.count("MB on a device") == 2
  assert "Gflop/s" in said
  assert list(tmp_path.iterdir()) == []


def test_estimates_grow_with_what_is_to_be_done(tiny):
  dataset = load(tiny.dataset)

  def of(*axes: str, **settings):
    grid = GridConfig(axes=axes, **settings)
    (group,) = plan(tiny, grid)
    return estimate(group, dataset, grid, rate=1e9)

  one, four = of("seed=0"), of("seed=0,1,2,3")
  assert four.seconds == pytest.approx(4 * one.seconds)
  images = dataset.train.images.nbytes
  assert four.bytes - images == 4 * (one.bytes - images)
  trial_batches = of("seed=0,1,2,3", per_device=2)
  assert trial_batches.seconds == pytest.approx(four.seconds)
  assert trial_batches.bytes - images == 2 * (one.bytes - images)


def command(tmp_path: Path, *flags: str) -> subprocess.CompletedProcess:
  config = tmp_path / "tiny.py"
  config.write_text(TINY_FILE)
  return run_command("train.py", f"--config={config}", *flags)


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--grid=stages.main.rate=1"], "configuration field 'stages.main.rate' does not exist"),
    (["--dry-run"], "flag --dry-run without a grid"),
    pytest.param(
      ["--grid=seed=0,1", "--executor=ray", "--config.grid.ray.resources=('TPU',)"],
      "grid.ray.resources has 'TPU'; accepted: NAME=AMOUNT",
      marks=pytest.mark.full,  # needs Ray
    ),
    (
      ["--grid=seed=0,1", "--executor=ray", "--distributed"],
      "flag --executor is ray with --distributed; accepted: one of them",
    ),
    (
      ["--grid=model.main.pretrained=a.pth,b.pth"],
      "weights 'a.pth' is no file",
    ),
  ],
)
def test_the_command_refuses_in_one_line(tmp_path, flags, message):
  result = command(tmp_path, f"--workdir={tmp_path / 'grid'}", *flags)
  assert result.returncode == 2
  assert message in result.stderr
  assert result.stderr.count("\n") == 1
  assert not (tmp_path / "grid").exists()
