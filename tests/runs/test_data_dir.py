"""Where a run's prepared set lies is remembered: a flag or variable gives it once."""

import pytest
from tensorflow_datasets.core import constants

from meanet_jax.config.grid import GridConfig
from meanet_jax.config.parsing import resolve, to_json
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.data.sources import load
from meanet_jax.evaluation import evaluate as evaluation
from meanet_jax.files import read_json
from meanet_jax.grid import run as grid_run
from meanet_jax.grid.context import GridContext
from meanet_jax.grid.directory import GridDirectory
from meanet_jax.grid.points import expand
from meanet_jax.grid.train import open_trial
from meanet_jax.models.zoo import build
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.stopping import never
from meanet_jax.tflite import source
from meanet_jax.training import start
from meanet_jax.training.train import train
from tests.data.sets import encoded, picture, write_set


@pytest.fixture
def own(tiny, tmp_path):
  """A configuration of a prepared set, and the directory that it lies in."""
  images = [(encoded(picture(number, (8, 8)), "PNG"), number % 2) for number in range(16)]
  write_set(tmp_path / "sets", "own", {"train": images, "test": images})
  fields = to_json(tiny)
  fields["dataset"] |= {
    "name": "own",
    "num_classes": 2,
    "image_shape": [8, 8, 3],
    "test_fraction": 0.0,
    "validation_fraction": 0.5,
  }
  for stage in ("main", "edge", "cloud"):
    fields["stages"][stage]["batch_size"] = 4
  return resolve(fields), tmp_path / "sets"


class ReadError(Exception):
  """Raised where data would be read."""


@pytest.fixture
def looked_in(monkeypatch):
  """The directories that data were to be read from, None for TFDS's default."""
  places = []

  def found(config, options=None):
    places.append(options.data_dir)
    raise ReadError

  for module in (start, evaluation, source, grid_run):
    monkeypatch.setattr(module, "load", found)
  return places


def test_the_directory_of_a_set(own, monkeypatch, tiny):
  config, sets = own
  monkeypatch.chdir(sets.parent)
  assert load(config.dataset, ReadOptions("sets")).data_dir == str(sets)
  monkeypatch.setattr(constants, "DATA_DIR", str(sets))  # as TFDS_DATA_DIR would have it
  assert load(config.dataset).data_dir == str(sets)
  assert load(tiny.dataset).data_dir is None


def test_training_writes_it_down(own, tmp_path):
  config, sets = own
  options = ReadOptions(str(sets), workers=0)
  with start.start(config, tmp_path / "run", options, never, tensorboard=False):
    pass
  assert RunDirectory(tmp_path / "run").data_dir() == str(sets)
  point = expand(("seed=0,1",), config, 2)[1]
  context = GridContext(tmp_path / "grid", GridConfig())
  open_trial(point, build(config), load(config.dataset, options), context)
  assert RunDirectory(tmp_path / "grid" / "points" / "001").data_dir() == str(sets)
  assert GridDirectory(tmp_path / "grid").data_dir() == str(sets)


def test_a_flag_comes_first_and_what_is_gone_is_not_looked_for(tmp_path):
  there, gone = str(tmp_path), str(tmp_path / "gone")
  assert ReadOptions(None, 3).or_from(there) == ReadOptions(there, 3)
  assert ReadOptions("a", 3).or_from(there) == ReadOptions("a", 3)
  assert ReadOptions().or_from(gone) == ReadOptions()
  assert ReadOptions().or_from(None) == ReadOptions()


def test_every_command_on_a_run_looks_there(tiny, tmp_path, looked_in):
  there, run, grid = str(tmp_path), tmp_path / "run", tmp_path / "grid"
  axes = GridConfig(axes=("seed=0,1",))
  RunDirectory.create(run, tiny, there)
  RunDirectory.create(grid / "points" / "000", tiny, there)
  for options in (None, ReadOptions("flag")):
    for begin in (
      lambda options=options: train(tiny, run, options),
      lambda options=options: evaluation.evaluate(RunDirectory.existing(run), options=options),
      lambda options=options: source.from_run(run, options),
      lambda options=options: grid_run.train_grid(tiny, axes, grid, options),
    ):
      with pytest.raises(ReadError):
        begin()
  assert looked_in == [there] * 4 + ["flag"] * 4


def test_digits_have_none(tiny, tmp_path):
  run = RunDirectory.create(tmp_path, tiny)
  assert "data_dir" not in read_json(run.environment_path)
  assert run.data_dir() is None
  run.environment_path.unlink()
  assert run.data_dir() is None
  assert GridDirectory(tmp_path / "nowhere").data_dir() is None
