"""What is left to the data: the number of classes and the shape of the images."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from meanet_jax.config.parsing import resolve
from meanet_jax.config.schema import Config
from meanet_jax.data.own.complete import complete_config, suggested_size
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.errors import UserError
from meanet_jax.models.zoo import build
from meanet_jax.report.write import evaluate_run
from meanet_jax.stopping import never
from meanet_jax.training.start import start
from meanet_jax.training.train import train
from tests.data.own.folders import write, write_folder
from tests.data.sets import picture
from tests.experiments import tiny_config
from tests.images.files import saved


def own(path: Path | str, **changes) -> Config:
  fields = tiny_config()
  fields.dataset.update(name="folder", path=str(path), image_shape=(0, 0, 0), num_classes=0)
  fields.dataset.update(changes)
  for stage in (fields.stages.main, fields.stages.edge, fields.stages.cloud):
    stage.batch_size, stage.epochs = 4, 1
  return resolve(fields)


@pytest.mark.parametrize(
  ("sizes", "expected"),
  [
    ([(28, 28)] * 3, (28, 28)),
    ([(8, 11)] * 3, (8, 11)),
    ([(480, 640)] * 3, (72, 96)),
    ([(1000, 10)] * 3, (96, 8)),
    ([(40, 60), (50, 44), (47, 90)], (48, 48)),
    ([(10, 60), (12, 44)], (32, 32)),
    ([(1000, 1000), (2000, 900)], (96, 96)),
  ],
)
def test_suggested_sizes(sizes, expected):
  assert suggested_size(np.array(sizes, np.int32)) == expected


def test_classes_and_shape_are_found_and_said(tmp_path, printed):
  config = complete_config(own(write_folder(tmp_path, classes=("a", "b", "c"))))
  assert config.dataset.num_classes == 3
  assert config.num_hard == 1
  assert config.dataset.image_shape == (32, 32, 3)
  assert "36 images of 3 classes; dataset.num_classes = 3" in printed()
  assert complete_config(config) is config


def test_what_is_given_is_kept(tmp_path):
  root = write_folder(tmp_path)
  found = complete_config(own(root, image_shape=(40, 24, 0), num_classes=2)).dataset
  assert (found.image_shape, found.num_classes) == ((40, 24, 3), 2)
  found = complete_config(own(root, image_shape=(0, 0, 1))).dataset
  assert (found.image_shape, found.num_classes) == ((32, 32, 1), 2)


def test_grey_images_of_one_size_and_arrays(tmp_path):
  for number in range(6):
    data = saved(picture(number, (12, 20), "L"), "JPEG")
    write(tmp_path / "set" / "ab"[number % 2] / f"{number}.jpg", data)
  assert complete_config(own(tmp_path / "set")).dataset.image_shape == (12, 20, 1)
  np.savez(tmp_path / "x.npz", images=np.zeros((6, 9, 7), np.uint8), labels=np.arange(6) % 3)
  found = complete_config(own(tmp_path / "x.npz")).dataset
  assert (found.image_shape, found.num_classes) == ((9, 7, 1), 3)


def test_the_path_is_made_absolute_unless_data_dir_is_it(tmp_path, monkeypatch):
  write_folder(tmp_path / "set")
  monkeypatch.chdir(tmp_path)
  assert complete_config(own("set")).dataset.path == str(tmp_path / "set")
  found = complete_config(own(""), ReadOptions(str(tmp_path / "set")))
  assert (found.dataset.path, found.dataset.num_classes) == ("", 2)


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"num_classes": 1}, "dataset.num_classes is 1; accepted: at least 2"),
    ({"image_shape": (64, 0, 3)}, r"image_shape is \(64, 0, 3\); accepted: 0 for both height and"),
    ({"image_shape": (0, 64, 0)}, r"image_shape is \(0, 64, 0\); accepted: 0 for both height and"),
    ({"name": "digits"}, r"dataset.image_shape is \(0, 0, 0\); accepted: above 0, or 0 with dat"),
    (
      {"name": "digits", "image_shape": (8, 8, 1), "num_classes": 10},
      "dataset.path is 'x' and dataset.name 'digits'; accepted: dataset.name = 'folder'",
    ),
  ],
)
def test_configurations_that_cannot_be(changes, words):
  with pytest.raises(UserError, match=words):
    own("x", **changes)


def test_a_configuration_that_does_not_fit_what_is_found(tmp_path):
  config = own(write_folder(tmp_path))
  config = dataclasses.replace(
    config, hard_classes=dataclasses.replace(config.hard_classes, count=5)
  )
  with pytest.raises(UserError, match=r"hard_classes\.count is 5; accepted: 1 to 1"):
    complete_config(config)


def test_networks_are_not_built_of_nothing(tmp_path):
  with pytest.raises(UserError, match=r"dataset\.num_classes is 0 and dataset\.image_shape"):
    build(own(tmp_path))


def test_a_run_records_what_was_found(tmp_path):
  config = own(write_folder(tmp_path / "set"), validation_fraction=0.3, test_fraction=0.3)
  for _ in range(2):  # made, and gone on with
    with start(config, tmp_path / "run", ReadOptions(workers=0), never, False) as context:
      completed, run = context.config, context.run
    assert (context.model.main.num_classes, context.dataset.class_names) == (2, ("cat", "dog"))
    assert run.config() == completed
    assert completed.dataset.image_shape == (32, 32, 3)
    assert completed.dataset.path == run.data_dir() == str(tmp_path / "set")
    rows = run.splits_path.read_text().splitlines()
    assert rows[0] == "path,label,split"
    assert len(rows) == 25
    tested = [row for row in rows if row.endswith("test")]
    assert len(tested) == len(context.dataset.test)
    assert all(row.startswith(f"{row.split(',')[1]}/") for row in rows[1:])


def test_a_set_that_was_moved_is_completed_as_before(tmp_path):
  config = own(write_folder(tmp_path / "set"))
  before = complete_config(config)
  (tmp_path / "set").rename(tmp_path / "moved")
  assert complete_config(config, ReadOptions(str(tmp_path / "moved"))) == before


@pytest.mark.full
def test_a_run_goes_on_and_is_evaluated_where_its_images_are_now(tmp_path, printed):
  config = own(write_folder(tmp_path / "set"), validation_fraction=0.3, test_fraction=0.3)
  for _ in range(2):
    train(config, tmp_path / "run", ReadOptions(workers=0))
  assert printed().count("already finished") == 4
  (tmp_path / "set").rename(tmp_path / "moved")
  evaluate_run(tmp_path / "run", options=ReadOptions(str(tmp_path / "moved"), 0))
  assert (tmp_path / "run" / "eval" / "summary.json").is_file()
